"""Coders of dictionary_learning, see :mod:`interp.sources.formats.dictionary_learning`."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from interp.coders.linear import Gate, LinearCoder, with_norms
from interp.coders.rules import BatchTopK, Rule, Threshold, TopK
from interp.coders.weights import headers_of, read_weights
from interp.errors import InputError
from interp.sources.checkpoint import check_tensors
from interp.sources.formats.dictionary_learning import CONFIG, Settings, settings


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. Its ``AutoEncoder`` is read with directions of length 1, as the library
    reads it."""
    said, found = settings(weights), read_weights(weights, device)
    layout = said.layout
    _check(weights, said, found)
    encoder, decoder = found[layout.encoder], found[layout.decoder]
    if layout.linear:
        decoder = decoder.mT.contiguous()
    else:
        encoder = encoder.mT.contiguous()
    bias = found[layout.decoder_bias]
    coder = LinearCoder(
        "sae",
        encoder,
        found[layout.encoder_bias],
        decoder,
        bias,
        _rule(weights, said, found),
        centre=bias if layout.centred else None,
        gate=Gate(found["gate_bias"], found["r_mag"].exp()) if layout.rule == "gated" else None,
    )
    return with_norms(coder) if layout.decoder_bias == "bias" else coder


def _check(weights: Path, said: Settings, found: Mapping[str, Tensor]) -> None:
    width, latents = said.facts.d_in or 0, said.facts.num_latents or 0
    turn = 1 if said.layout.linear else -1
    expected: dict[str, tuple[int, ...]] = {
        said.layout.encoder: (latents, width)[::turn],
        said.layout.encoder_bias: (latents,),
        said.layout.decoder: (width, latents)[::turn],
        said.layout.decoder_bias: (width,),
    }
    if said.layout.rule == "gated":
        expected |= {"gate_bias": (latents,), "r_mag": (latents,)}
    if said.layout.rule == "threshold":
        expected["threshold"] = (latents,)
    check_tensors(
        weights,
        headers_of(found),
        expected,
        f"its {CONFIG} (activation_dim {width:,}, dict_size {latents:,})",
    )


def _rule(weights: Path, said: Settings, found: Mapping[str, Tensor]) -> Rule:
    latents = found[said.layout.encoder_bias]
    threshold = found.get("threshold")
    if said.k is None:
        if said.layout.rule == "threshold" and threshold is not None:
            return Threshold(threshold)
        return Threshold(torch.zeros_like(latents))
    if "k" in found and int(found["k"]) != said.k:
        raise InputError(
            f"{weights} says that k is {int(found['k']):,}, but its {CONFIG} says {said.k:,}."
        )
    if said.layout.rule == "topk":
        return TopK(said.k)
    if threshold is None or float(threshold) < 0:  # none was ever set
        return BatchTopK(said.k)
    return Threshold(threshold.expand_as(latents), trained=TopK(said.k))
