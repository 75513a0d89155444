"""Checkpoints of EleutherAI's ``sparsify``: ``cfg.json`` beside ``sae.safetensors``.

Its loader says little of what is wrong with them, and some faults it does not notice. A folder is
named like the module that its coder writes.
"""

from collections.abc import Collection
from pathlib import Path

from interp.errors import InputError
from interp.sources.checkpoint import (
    Facts,
    check_active,
    check_tensors,
    flag,
    has,
    headers,
    read_config,
    whole,
)
from interp.sources.models import HOOKPOINT, place_of
from interp.sources.paths import read_json
from interp.sources.sites import LISTS

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
RECORD = "training.json"
"""What `palimpsest train-coder` adds."""
FILES = f"sparsify: {CONFIG} (d_in, num_latents, k) and {WEIGHTS}"
ACTIVATIONS = ("topk", "groupmax")


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Where they are missing, its settings tell it."""
    there = (folder / WEIGHTS).is_file() or has(folder / CONFIG, "num_latents")
    return [folder / WEIGHTS] if there else []


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, or that contradict each other.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    path = weights.with_name(CONFIG)
    config = read_config(path)
    d_in = whole(path, config, "d_in")
    if config.get("num_latents", 0) == 0:
        num_latents = d_in * whole(path, config, "expansion_factor", 32)
    else:
        num_latents = whole(path, config, "num_latents")
    k = whole(path, config, "k", 32)
    check_active(path, k, num_latents)
    if (activation := config.get("activation", "topk")) not in ACTIVATIONS:
        raise InputError(
            f"{path}: the activation {activation!r} is not supported; {' and '.join(ACTIVATIONS)} "
            "are."
        )
    skip, transcode = (flag(path, config, name) for name in ("skip_connection", "transcode"))
    expected: dict[str, tuple[int, ...]] = {
        "encoder.weight": (num_latents, d_in),
        "encoder.bias": (num_latents,),
        "W_dec": (num_latents, d_in),
        "b_dec": (d_in,),
    }
    if skip:
        expected["W_skip"] = (d_in, d_in)
    check_tensors(
        weights,
        headers(weights),
        expected,
        f"its {CONFIG} (d_in {d_in:,}, num_latents {num_latents:,})",
        only=True,
        because={"W_skip": f", though skip_connection is {str(skip).lower()}"},
    )
    return Facts(
        "transcoder" if transcode else "sae",
        d_in,
        d_in,
        num_latents,
        k,
        skip,
        writes=trained_on(weights.parent),
    )


def trained_on(folder: Path, lists: Collection[str] = LISTS) -> str:
    """The hookpoint that the record of a coder's training, or else its folder, names; empty if
    neither names one.

    A name such as ``coder_v1.2`` looks like one, but is none: the model has no such layers.

    Args:
        lists: What the model's lists of layers are called.
    """
    record = folder / RECORD
    if record.is_file() and isinstance(named := read_json(record).get("hookpoint"), str):
        return named
    place = place_of(folder.name)
    found = place is not None and place.list in lists and HOOKPOINT.fullmatch(folder.name)
    return folder.name if found else ""
