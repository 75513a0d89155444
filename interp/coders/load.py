"""Sparse coders loaded from folders and from the hub."""

from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from interp.coders import registry
from interp.coders.protocol import Coder
from interp.errors import InputError, reason
from interp.hub import hub_reason
from interp.model.subject import default_device


def load_coder(source: str | Path, hookpoint: str, *, device: torch.device | None = None) -> Coder:
    """Load a checkpoint in any of the formats of :data:`interp.coders.registry.FORMATS`.

    Args:
        source: A checkpoint folder (holding ``cfg.json`` itself, or a folder named like the
            hookpoint that does), or a hub name.

    Raises:
        InputError: There is no such checkpoint, or its files do not fit together.
    """
    path, device = Path(source).expanduser(), device or default_device()
    there = path if path.exists() else _fetched(str(source), hookpoint)
    found = registry.find(there, hookpoint)
    found.check()
    try:
        return found.format.load(found.folder, device)
    except InputError:
        raise
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        raise InputError(
            f"The sparse coder in {found.folder} cannot be loaded: {reason(error)}. Fetch it again."
        ) from error


def _fetched(name: str, hookpoint: str) -> Path:
    """The folder that the hub's files for one hookpoint are in, fetched if they are not here."""
    try:
        return Path(snapshot_download(name, allow_patterns=f"{hookpoint}/*"))
    except Exception as error:
        raise InputError(
            f"There is no sparse coder at {name!r}, neither a folder here nor a name on the hub "
            f"that can be fetched: {hub_reason(error)}"
        ) from error
