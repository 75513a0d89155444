"""Checkpoints of EleutherAI's ``sparsify``: ``cfg.json`` beside ``sae.safetensors``.

Its loader says little of what is wrong with them, and some faults it does not notice. A folder is
named like the module that its coder writes.
"""

from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.sources.checkpoint import Facts, check_tensors, headers, read_config
from interp.sources.models import place_of
from interp.sources.sites import LISTS

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
RECORD = "training.json"
"""What `palimpsest train-coder` adds."""
FILES = f"sparsify: {CONFIG} (d_in, num_latents, k) and {WEIGHTS}"
ACTIVATIONS = ("topk", "groupmax")


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Where they are missing, its settings tell it."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    try:
        config = read_config(folder / CONFIG)
    except InputError:
        return []
    return [folder / WEIGHTS] if {"num_latents", "k"} & {*config} else []


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, or that contradict each other.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    path = weights.with_name(CONFIG)
    config = read_config(path)
    d_in = _size(path, config, "d_in")
    num_latents = _size(path, config, "num_latents", 0)
    num_latents = num_latents or d_in * _size(path, config, "expansion_factor", 32)
    k = _size(path, config, "k", 32)
    for name, value in (("d_in", d_in), ("num_latents", num_latents), ("k", k)):
        if value < 1:
            raise InputError(f"{path}: {name} is {value}; it must be at least 1.")
    if k > num_latents:
        raise InputError(
            f"{path}: k is {k:,}, but there are {num_latents:,} latents only. No more latents can "
            "be active on a token than there are: correct k."
        )
    if (activation := config.get("activation", "topk")) not in ACTIVATIONS:
        raise InputError(
            f"{path}: the activation {activation!r} is not supported; {' and '.join(ACTIVATIONS)} "
            "are."
        )
    for name in ("skip_connection", "transcode"):
        if not isinstance(config.get(name, False), bool):
            raise InputError(f"{path}: {name} is {config[name]!r}; it must be true or false.")
    skip = config.get("skip_connection", False)
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
        "transcoder" if config.get("transcode", False) else "sae",
        d_in,
        d_in,
        num_latents,
        k,
        skip,
        writes=_site(weights.parent),
    )


def _site(folder: Path) -> str:
    """The module that a folder is named like, or that the record of its training names."""
    record = folder / RECORD
    if record.is_file() and isinstance(named := read_config(record).get("hookpoint"), str):
        return named
    place = place_of(folder.name)
    return folder.name if place is not None and place.list in LISTS else ""


def _size(path: Path, config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        said = "is missing" if value is None else f"is {value!r}"
        raise InputError(f"{path}: {name} {said}; it must be a whole number.")
    return value
