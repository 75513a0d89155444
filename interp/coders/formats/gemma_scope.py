"""Coders of Gemma Scope 1, see :mod:`interp.sources.formats.gemma_scope`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder, scaled
from interp.coders.rules import Threshold
from interp.coders.weights import read_weights
from interp.sources.formats.gemma_scope import check, of_embedding


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. ``y = W_decᵀ JumpReLU(x W_enc + b_enc) + b_dec``."""
    facts, found = check(weights), read_weights(weights, device)
    coder = LinearCoder(
        facts.kind,
        found["W_enc"].mT.contiguous(),
        found["b_enc"],
        found["W_dec"],
        found["b_dec"],
        Threshold(found["threshold"]),
    )
    if of_embedding(weights):  # the model multiplies its embedding by √d, training did not
        factor = coder.d_in**-0.5
        coder = scaled(coder, read=factor, written=factor)
    return coder
