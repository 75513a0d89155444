"""The progress of a training: its looks at the validation latents, and its checkpoints."""

import json
from pathlib import Path
from typing import NamedTuple

import torch

from interp.errors import InputError


class Look(NamedTuple):
    """The figures of the networks at some step, on latents and text they are not trained on."""

    step: int
    loss: float
    """Mean training loss since the look before."""
    correlation: float
    """Mean over the validation latents' explanations."""
    seconds: float


def exhausted(looks: list[Look], patience: int) -> bool:
    if len(looks) <= patience:
        return False
    best = max(range(len(looks)), key=lambda i: looks[i].correlation)
    return len(looks) - 1 - best >= patience


def save_checkpoint(checkpoint: Path, **state: object) -> None:
    """Replace the checkpoint. An interruption leaves the old one."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(checkpoint)


def same_training(folder: Path, settings: dict[str, object]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        path.write_text(json.dumps(settings))
    elif json.loads(path.read_text()) != settings:
        raise InputError(
            f"{folder} holds an unfinished training with other settings. Go on with those, choose "
            "another folder, or remove it."
        )
