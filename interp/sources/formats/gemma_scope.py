"""Checkpoints of Gemma Scope 1: ``params.npz``, with no config.

SAEs and transcoders of Gemma 2 with JumpReLU. Only the path says what they read and write: the name
of the repository, such as ``gemma-scope-2b-pt-res``, and the folders in it, such as
``layer_20/width_16k/average_l0_71``.
"""

import re
from pathlib import Path
from typing import NamedTuple

from interp.sources.checkpoint import Facts, check_tensors, headers, other_width, width

WEIGHTS = "params.npz"
FILES = f"Gemma Scope 1: {WEIGHTS} in folders named layer_L/width_W/average_l0_N"


class Hooks(NamedTuple):
    """The hooks in a layer that coders of one repository read and write."""

    reads: str
    writes: str


HOOKS = {
    "res": Hooks("hook_resid_post", "hook_resid_post"),
    "mlp": Hooks("hook_mlp_out", "hook_mlp_out"),
    "att": Hooks("attn.hook_z", "attn.hook_z"),
    "transcoders": Hooks("ln2.hook_normalized", "hook_mlp_out"),
}
"""By the end of the repository's name."""
UNNAMED = (
    "Its path does not say what it reads: it is taken for an SAE. A transcoder lies below a folder "
    "that ends in -transcoders."
)


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder."""
    return [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []


def of_embedding(weights: Path) -> bool:
    """True for a coder of the embedding."""
    return "embedding" in weights.absolute().parts


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, or that contradict each other.

    Raises:
        InputError: The message names the file and what is wrong with it.
    """
    found = headers(weights)
    num_latents, d_out = width(found, "b_enc"), width(found, "b_dec")
    d_in = other_width(found, "W_enc", num_latents)
    expected = {
        "W_enc": (d_in, num_latents),
        "W_dec": (num_latents, d_out),
        "b_enc": (num_latents,),
        "b_dec": (d_out,),
        "threshold": (num_latents,),
    }
    check_tensors(weights, found, expected, "its biases")
    path = weights.absolute().as_posix()
    kinds = re.findall(r"-(res|mlp|att|transcoders)(?=[-/])", path)
    layers = re.findall(r"/layer_(\d+)(?=[-_/])", path)
    hooks = HOOKS[kinds[-1]] if kinds else Hooks("", "")
    if of_embedding(weights):
        reads, writes = "hook_embed", "hook_embed"
    elif kinds and layers:
        reads, writes = (f"blocks.{layers[-1]}.{hook}" for hook in hooks)
    else:
        reads, writes = "", ""
    model = re.search(r"gemma-scope-(\d+b)-(pt|it)", path)
    active = re.findall(r"average_l0_(\d+)", path)
    return Facts(
        "sae" if hooks.reads == hooks.writes else "transcoder",
        d_in,
        d_out,
        num_latents,
        reads=reads,
        writes=writes,
        model=f"google/gemma-2-{model[1]}{'-it' if model[2] == 'it' else ''}" if model else "",
        active=float(active[-1]) if active else None,
        remark="" if kinds or reads else UNNAMED,
    )
