"""Sparse coders loaded from folders and from the hub."""

from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from interp.coders.protocol import Coder
from interp.coders.sparsify import SparsifyCoder
from interp.errors import InputError, reason
from interp.sources import checkpoint
from interp.sources.hub import hub_reason


def load_coder(source: str, hookpoint: str, *, device: torch.device) -> Coder:
    """Load a sparsify checkpoint.

    Args:
        source: A checkpoint folder (holding ``cfg.json`` itself, or a folder named like the
            hookpoint that does), or a hub name.

    Raises:
        InputError: There is no such checkpoint, or its files do not fit together.
    """
    path = Path(source).expanduser()
    folder = checkpoint.find(path if path.exists() else _fetched(source, hookpoint), hookpoint)
    checkpoint.check(folder)
    try:
        coder = SparsifyCoder.from_folder(folder, device)
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        raise InputError(
            f"The sparse coder in {folder} cannot be loaded: {reason(error)}. Fetch it again."
        ) from error
    for name, weights in coder.module.named_parameters():
        if bad := int((~weights.isfinite()).sum()):
            raise InputError(
                f"{folder / checkpoint.WEIGHTS} is damaged: {bad:,} of {weights.numel():,} values "
                f"of {name} are infinite or not numbers (NaN). Fetch the checkpoint again, or "
                "train it again with a lower learning rate."
            )
    return coder


def _fetched(name: str, hookpoint: str) -> Path:
    """The folder that the hub's files for one hookpoint are in, fetched if they are not here."""
    try:
        return Path(snapshot_download(name, allow_patterns=f"{hookpoint}/*"))
    except Exception as error:
        raise InputError(
            f"There is no sparse coder at {name!r}, neither a folder here nor a name on the hub "
            f"that can be fetched: {hub_reason(error)}"
        ) from error
