"""Folders of sparse coders, told apart by their files. Needs no torch."""

import json
from pathlib import Path
from typing import NamedTuple

FOREIGN = {
    "sae_weights.safetensors": "SAELens",
    "sparsity.safetensors": "SAELens",
    "params.npz": "Gemma Scope",
    "ae.pt": "dictionary_learning",
}
"""Files that other libraries write, and nobody else."""


class Shapes(NamedTuple):
    """The sizes that a coder's files give."""

    d_in: int
    num_latents: int
    k: int
    skip: bool


def foreign(folder: Path) -> str | None:
    """The library that wrote a folder in a format which is not supported; None if none did."""
    for name, library in FOREIGN.items():
        if (folder / name).is_file():
            return library
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return "SAELens" if isinstance(config, dict) and "d_sae" in config else None
