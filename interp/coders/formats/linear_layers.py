"""SAEs of two linear layers, see :mod:`interp.sources.formats.linear_layers`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder
from interp.coders.rules import Threshold
from interp.coders.weights import headers_of, read_weights
from interp.sources.checkpoint import check_tensors, width


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. ``y = W_dec relu(W_enc x + b_enc) + b_dec``."""
    found = read_weights(weights, device)
    shapes = headers_of(found)
    end = "_linear" if "encoder_linear.weight" in found else ""  # Goodfire's
    encoder, decoder = f"encoder{end}", f"decoder{end}"
    latents, d_model = width(shapes, f"{encoder}.bias"), width(shapes, f"{decoder}.bias")
    expected = {
        f"{encoder}.weight": (latents, d_model),
        f"{encoder}.bias": (latents,),
        f"{decoder}.weight": (d_model, latents),
        f"{decoder}.bias": (d_model,),
    }
    check_tensors(weights, shapes, expected, "its biases")
    return LinearCoder(
        "sae",
        found[f"{encoder}.weight"],
        found[f"{encoder}.bias"],
        found[f"{decoder}.weight"].mT.contiguous(),
        found[f"{decoder}.bias"],
        Threshold(torch.zeros_like(found[f"{encoder}.bias"])),
    )
