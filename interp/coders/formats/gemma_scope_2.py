"""Coders of Gemma Scope 2, see :mod:`interp.sources.formats.gemma_scope_2`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder
from interp.coders.rules import Threshold
from interp.coders.weights import read_weights
from interp.sources.formats.gemma_scope_2 import SKIP, check


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. ``y = W_decᵀ JumpReLU(x W_enc + b_enc) + b_dec (+ x A)``: the affine skip
    connection A is not transposed."""
    facts, found = check(weights), read_weights(weights, device)
    return LinearCoder(
        facts.kind,
        found["w_enc"].mT.contiguous(),
        found["b_enc"],
        found["w_dec"],
        found["b_dec"],
        Threshold(found["threshold"]),
        skip_weight=found[SKIP].mT if SKIP in found else None,
    )
