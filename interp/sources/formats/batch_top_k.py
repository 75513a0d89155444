"""Checkpoints of BatchTopK (Bussmann et al. 2024, arXiv 2412.06410): ``config.json`` beside
``sae.pt``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from interp.errors import InputError
from interp.sources.checkpoint import (
    Facts,
    check_active,
    flag,
    has,
    read_config,
    whole,
    without_threshold,
)

CONFIG, WEIGHTS = "config.json", "sae.pt"
FILES = f"BatchTopK: {CONFIG} (act_size, dict_size, sae_type) and {WEIGHTS}"
Kind = Literal["vanilla", "topk", "batchtopk", "jumprelu"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Settings(NamedTuple):
    """What the config says of how to compute the coder."""

    facts: Facts
    kind: Kind
    k: int | None
    """Of a token, or on average over a batch."""
    normalised: bool
    """Each vector is brought to mean 0 and deviation 1."""


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Where they are missing, its settings tell it."""
    there = (folder / WEIGHTS).is_file() or has(folder / CONFIG, "act_size")
    return [folder / WEIGHTS] if there else []


def check(weights: Path) -> Facts:
    """Refuse a config that lacks something or contradicts itself. The weights are checked when
    they are loaded.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    return settings(weights).facts


def settings(weights: Path) -> Settings:
    """Read and check the config.

    Raises:
        InputError: See :func:`check`.
    """
    path = weights.with_name(CONFIG)
    if not weights.is_file():
        raise InputError(f"There is no file {weights}. Fetch the checkpoint again.")
    config = {name: _value(value) for name, value in read_config(path).items()}
    kind = config.get("sae_type")
    if kind not in KINDS:
        said = "is missing" if kind is None else f"{kind!r} is not supported"
        raise InputError(f"{path}: sae_type {said}. These are: {', '.join(KINDS)}.")
    width, latents = whole(path, config, "act_size"), whole(path, config, "dict_size")
    k = None
    if kind in ("topk", "batchtopk"):
        k = whole(path, config, "top_k")
        check_active(path, k, latents)
    site = _site(config)
    facts = Facts(
        "sae",
        width,
        width,
        latents,
        k if kind == "topk" else None,
        reads=site,
        writes=site,
        model=str(config.get("model_name") or ""),
        active=k if kind == "batchtopk" else None,
        remark=without_threshold(k) if k and kind == "batchtopk" else "",
    )
    return Settings(facts, cast(Kind, kind), k, flag(path, config, "input_unit_norm"))


def _value(value: Any) -> Any:
    """A number or a truth value that was stored as text."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value


def _site(config: Mapping[str, Any]) -> str:
    if named := config.get("hook_point"):
        return str(named)
    site, layer = config.get("site"), config.get("layer")
    return f"blocks.{layer}.hook_{site}" if site and layer is not None else ""
