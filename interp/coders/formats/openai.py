"""Coders of OpenAI, see :mod:`interp.sources.formats.openai`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from interp.coders.linear import LinearCoder, layer_norm
from interp.coders.rules import Rule, Threshold, TopK
from interp.coders.weights import headers_of, read_file, tensors_of
from interp.errors import InputError
from interp.sources.checkpoint import check_active, check_tensors, whole, width


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. Those with top-k read and write vectors of mean 0 and deviation 1."""
    held = read_file(weights)
    found = tensors_of(weights, held, device)
    shapes = headers_of(found)
    latents, d_model = width(shapes, "latent_bias"), width(shapes, "pre_bias")
    expected = {
        "encoder.weight": (latents, d_model),
        "decoder.weight": (d_model, latents),
        "latent_bias": (latents,),
        "pre_bias": (d_model,),
    }
    check_tensors(weights, shapes, expected, "its biases")
    k = _k(weights, held, latents)
    rule: Rule = Threshold(torch.zeros_like(found["latent_bias"])) if k is None else TopK(k)
    return LinearCoder(
        "sae",
        found["encoder.weight"],
        found["latent_bias"],
        found["decoder.weight"].mT.contiguous(),
        found["pre_bias"],
        rule,
        centre=found["pre_bias"],
        normalise=None if k is None else layer_norm(1e-5),
    )


def _k(weights: Path, held: Mapping[str, Any], latents: int) -> int | None:
    """The k of its top-k; None for ReLU."""
    activation = held.get("activation", "ReLU")
    state = held.get("activation_state_dict") or {}
    after = state.get("postact_fn", "ReLU")
    if activation == "ReLU":
        return None
    if activation != "TopK" or after != "ReLU":
        raise InputError(
            f"{weights}: the activation {activation} (postact_fn {after}) is not supported; ReLU "
            "and TopK with ReLU are."
        )
    k = whole(weights, {"k": int(state["k"])} if "k" in state else {}, "k")
    check_active(weights, k, latents)
    return k
