"""SAEs of attention heads, see :mod:`interp.sources.formats.hook_z`."""

from pathlib import Path

import torch

from interp.coders.linear import LinearCoder
from interp.coders.rules import Threshold
from interp.coders.weights import headers_of, read_weights
from interp.sources.checkpoint import check_tensors
from interp.sources.formats.hook_z import check, config_of


def load(weights: Path, device: torch.device) -> LinearCoder:
    """Load a checkpoint. ``y = W_decᵀ relu((x − b_dec) W_enc + b_enc) + b_dec``."""
    facts, found = check(weights), read_weights(weights, device)
    width, latents = facts.d_in or 0, facts.num_latents or 0
    expected = {
        "W_enc": (width, latents),
        "W_dec": (latents, width),
        "b_enc": (latents,),
        "b_dec": (width,),
    }
    sizes = f"its {config_of(weights).name} (act_size {width:,}, dict_size {latents:,})"
    check_tensors(weights, headers_of(found), expected, sizes)
    return LinearCoder(
        "sae",
        found["W_enc"].mT.contiguous(),
        found["b_enc"],
        found["W_dec"],
        found["b_dec"],
        Threshold(torch.zeros_like(found["b_enc"])),
        centre=found["b_dec"],
    )
