"""Sparse coders loaded from folders and from the hub."""

from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from interp.coders import registry
from interp.coders.protocol import Coder
from interp.errors import InputError, reason
from interp.hub import hub_reason
from interp.model.subject import default_device
from interp.sources.paths import hub_folder, hub_place

WEIGHTS = {".safetensors", ".npz", ".pt", ".pth"}
"""What files of weights are called."""


def load_coder(
    source: str | Path, hookpoint: str = "", *, device: torch.device | None = None
) -> Coder:
    """Load a checkpoint in any of the formats of :data:`interp.coders.registry.FORMATS`.

    Args:
        source: A file of weights, a folder with one, a folder of such folders named like their
            hookpoints, a hub name, or one with a folder behind it: ``owner/name/folder``.
        hookpoint: Which of several coders.

    Raises:
        InputError: There is no such checkpoint, or its files do not fit together.
    """
    found = find_checkpoint(source, hookpoint)
    found.check()
    try:
        return found.format.load(found.weights, device or default_device())
    except InputError:
        raise
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        raise InputError(
            f"The sparse coder in {found.folder} cannot be loaded: {reason(error)}. Fetch it again."
        ) from error


def find_checkpoint(source: str | Path, hookpoint: str = "") -> registry.Checkpoint:
    """The files of a coder, fetched if they are on the hub. Arguments and errors are those of
    :func:`load_coder`."""
    path = Path(source).expanduser()
    there = path if path.exists() else _fetched(str(source), hookpoint)
    return registry.find(there, hookpoint)


def _fetched(source: str, hookpoint: str) -> Path:
    """The folder of a coder on the hub, fetched if it is not here: the one named, or else that of
    the hookpoint."""
    name, folder = hub_place(source, hookpoint)
    try:
        # A file comes with the settings beside it.
        wanted = [folder, "*.json", "*.yaml"] if Path(folder).suffix in WEIGHTS else f"{folder}/*"
        fetched = Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise InputError(
            f"There is no sparse coder at {source!r}, neither a folder here nor a name on the hub "
            f"that can be fetched: {hub_reason(error)}"
        ) from error
    return fetched / folder if hub_folder(source) else fetched
