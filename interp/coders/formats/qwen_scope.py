"""Coders of Qwen-Scope, see :mod:`interp.sources.formats.qwen_scope`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder
from interp.coders.rules import TopK
from interp.coders.weights import headers_of, read_weights
from interp.sources.checkpoint import check_active, check_tensors, width
from interp.sources.formats.qwen_scope import check


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. ``y = W_dec TopK(W_enc x + b_enc) + b_dec``."""
    facts, found = check(weights), read_weights(weights, device)
    shapes = headers_of(found)
    latents, d_model = width(shapes, "b_enc"), width(shapes, "b_dec")
    expected = {
        "W_enc": (latents, d_model),
        "W_dec": (d_model, latents),
        "b_enc": (latents,),
        "b_dec": (d_model,),
    }
    check_tensors(weights, shapes, expected, "its biases")
    assert facts.k is not None
    check_active(weights, facts.k, latents)
    return LinearCoder(
        "sae",
        found["W_enc"],
        found["b_enc"],
        found["W_dec"].mT.contiguous(),
        found["b_dec"],
        TopK(facts.k),
    )
