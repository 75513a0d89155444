"""Sparse coders: transcoders and sparse autoencoders behind one protocol."""

from interp.coders.load import load_coder
from interp.coders.protocol import Coder, Latents, fvu

__all__ = ["Coder", "Latents", "fvu", "load_coder"]
