"""Sparse coders: transcoders and sparse autoencoders behind one protocol."""

from interp.coders.coder import Coder, Latents, fvu, load_coder

__all__ = ["Coder", "Latents", "fvu", "load_coder"]
