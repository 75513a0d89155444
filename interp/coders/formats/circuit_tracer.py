"""Transcoders for circuit-tracer, see :mod:`interp.sources.formats.circuit_tracer`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder
from interp.coders.rules import Rule, Threshold, TopK
from interp.coders.weights import read_weights
from interp.sources.formats.circuit_tracer import SKIP, THRESHOLD, check


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load the transcoder of one layer. ``y = W_decᵀ f(W_enc x + b_enc) + b_dec (+ W_skip x)``."""
    facts, found = check(weights), read_weights(weights, device)
    thresholds = found.get(THRESHOLD, torch.zeros((), device=device)).expand(len(found["W_dec"]))
    rule: Rule = Threshold(thresholds) if facts.k is None else TopK(facts.k)
    return LinearCoder(
        facts.kind,
        found["W_enc"],
        found["b_enc"],
        found["W_dec"],
        found["b_dec"],
        rule,
        skip_weight=found.get(SKIP),
    )
