"""Coders of Llama Scope, see :mod:`interp.sources.formats.llama_scope`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from interp.coders.linear import LinearCoder, scaled, to_length
from interp.coders.rules import BatchTopK, Rule, Threshold, TopK
from interp.coders.weights import read_weights
from interp.sources.formats.llama_scope import OLD_NAMES, Settings, norm_tensors, settings


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint."""
    said, found = settings(weights), read_weights(weights, device)
    encoder, decoder = found[said.names[0]], found[said.names[2]]
    if said.names is OLD_NAMES:
        decoder = decoder.mT.contiguous()
    else:
        encoder = encoder.mT.contiguous()
    bias = found.get(said.names[3], decoder.new_zeros(decoder.shape[1]))
    read, written = _factors(said, found, decoder.shape[1])
    coder = LinearCoder(
        said.facts.kind,
        encoder,
        found[said.names[1]],
        decoder,
        bias,
        _rule(said, found, decoder, read=read, written=written),
        centre=bias if said.centred else None,
    )
    if said.normalise == "token-wise":
        return replace(coder, normalise=to_length(coder.d_in**0.5))
    return scaled(coder, read=read, written=written)


def _factors(said: Settings, found: Mapping[str, Tensor], width: int) -> tuple[float, float]:
    """The factors that vectors read and written were multiplied by in training."""
    if said.normalise != "dataset-wise":
        return 1.0, 1.0
    if said.norms:
        lengths = said.norms["in"], said.norms["out"]
    else:
        reads, writes = norm_tensors(said.facts)
        lengths = float(found[reads]), float(found[writes])
    return width**0.5 / lengths[0], width**0.5 / lengths[1]


def _rule(
    said: Settings, found: Mapping[str, Tensor], decoder: Tensor, *, read: float, written: float
) -> Rule:
    """The rule, for activations as in training."""
    norms = decoder.norm(dim=1)
    weights = norms if said.with_norms else None
    if said.rule == "batchtopk":
        return BatchTopK(said.k, weights)
    top = TopK(said.k, weights) if said.k else None
    if said.rule == "topk" and top is not None:
        return top
    if said.threshold:
        thresholds = found[said.threshold].exp()
        return Threshold(thresholds / norms if said.with_norms else thresholds, trained=top)
    # One threshold for all is in units of the model: of the output if lengths count, of the input
    # if they do not.
    if said.with_norms:
        return Threshold(said.scalar * written / norms, trained=top)
    return Threshold(torch.full_like(norms, said.scalar * read), trained=top)
