"""Coders of BatchTopK, see :mod:`interp.sources.formats.batch_top_k`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder, layer_norm
from interp.coders.rules import BatchTopK, Rule, Threshold, TopK
from interp.coders.weights import headers_of, read_weights
from interp.sources.checkpoint import check_tensors
from interp.sources.formats.batch_top_k import CONFIG, settings

LOG_THRESHOLD = "jumprelu.log_threshold"


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. All but JumpReLU subtract the decoder's bias from what they read."""
    said, found = settings(weights), read_weights(weights, device)
    width, latents = said.facts.d_in or 0, said.facts.num_latents or 0
    jumps = said.kind == "jumprelu"
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (width, latents),
        "W_dec": (latents, width),
        "b_enc": (latents,),
        "b_dec": (width,),
    }
    if jumps:
        expected[LOG_THRESHOLD] = (latents,)
    sizes = f"its {CONFIG} (act_size {width:,}, dict_size {latents:,})"
    check_tensors(weights, headers_of(found), expected, sizes)
    rule: Rule
    if said.k is not None:
        rule = (BatchTopK if said.kind == "batchtopk" else TopK)(said.k)
    else:
        rule = Threshold(found[LOG_THRESHOLD].exp() if jumps else torch.zeros_like(found["b_enc"]))
    return LinearCoder(
        "sae",
        found["W_enc"].mT.contiguous(),
        found["b_enc"],
        found["W_dec"],
        found["b_dec"],
        rule,
        centre=None if jumps else found["b_dec"],
        normalise=layer_norm(1e-5) if said.normalised else None,
    )
