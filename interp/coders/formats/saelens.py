"""Coders of SAELens, see :mod:`interp.sources.formats.saelens`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from interp.coders.linear import Gate, LinearCoder, layer_norm, scaled, to_length, with_norms
from interp.coders.rules import Rule, Threshold, TopK
from interp.coders.weights import read_weights
from interp.sources.formats.saelens import Settings, settings


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint."""
    said, found = settings(weights), read_weights(weights, device)
    gated = said.rule == "gated"
    coder = LinearCoder(
        said.facts.kind,
        found["W_enc"].mT.contiguous(),
        found["b_mag" if gated else "b_enc"],
        found["W_dec"],
        found["b_dec"],
        _rule(said, found),
        skip_weight=found.get("W_skip"),
        centre=found["b_dec"] if said.centred else None,
        gate=Gate(found["b_gate"], found["r_mag"].exp()) if gated else None,
    )
    if said.normalise == "layer_norm":
        coder = replace(coder, normalise=layer_norm(1e-5))
    elif said.normalise == "constant_norm_rescale":
        coder = replace(coder, normalise=to_length(coder.d_in**0.5))
    if said.with_norms:
        coder = with_norms(coder)
    factor, own = said.factor, found.get("scaling_factor")
    if own is not None and own.numel() > 1:  # of each latent, from its fine-tuning
        coder = replace(coder, decoder=coder.decoder * own[:, None])
    elif own is not None and said.normalise == "expected_average_only_in":
        factor = float(own)
    if factor != 1:
        coder = scaled(coder, read=factor, written=factor)
    return two_sided(coder) if said.rule == "abstopk" else coder


def two_sided(coder: LinearCoder) -> LinearCoder:
    """A coder of signed latents as one of twice as many that are never negative."""
    return replace(
        coder,
        encoder=torch.cat([coder.encoder, -coder.encoder]),
        encoder_bias=torch.cat([coder.encoder_bias, -coder.encoder_bias]),
        decoder=torch.cat([coder.decoder, -coder.decoder]),
    )


def _rule(said: Settings, found: Mapping[str, Tensor]) -> Rule:
    if said.facts.k is not None:
        return TopK(said.facts.k)
    latents = found["W_dec"][:, 0]
    if said.rule != "threshold":
        return Threshold(torch.zeros_like(latents))
    if "threshold" in found:
        return Threshold(found["threshold"])
    if "log_threshold" in found:
        return Threshold(found["log_threshold"].exp())
    return Threshold(found["topk_threshold"].expand_as(latents))
