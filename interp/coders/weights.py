"""The weights of a coder, read from whatever kind of file they are in."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from interp.errors import InputError
from interp.sources.checkpoint import AGAIN, Header


def read_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .npz, .pt or .pth file, in float32 on a device.

    Raises:
        InputError: There is no such file, it is damaged, or it holds something else. Some value is
            infinite or no number.
    """
    return tensors_of(path, read_file(path), device)


def read_file(path: Path) -> Mapping[str, Any]:
    """What a .safetensors, .npz, .pt or .pth file holds, by name.

    Nothing in a file is run: of a pickled one only tensors and plain values are read.

    Raises:
        InputError: There is no such file, it is damaged, or it holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}. {AGAIN}") from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than weights, and reading it would run its code. Save its "
            "state_dict alone, with torch.save or as safetensors."
        ) from error
    except Exception as error:  # the readers raise whatever the damage makes them stumble over
        raise InputError(f"{path} is damaged or cut short. {AGAIN}") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{path} holds no tensors by name, but a {type(found).__name__}.")
    return found


def tensors_of(path: Path, found: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The tensors among what a file holds, in float32 on a device.

    Raises:
        InputError: Some value is infinite or no number.
    """
    tensors = {name: value.to(device, torch.float32) for name, value in flat(found).items()}
    refuse_not_finite(path, tensors)
    return tensors


def flat(found: Mapping[str, Any], above: str = "") -> dict[str, Tensor]:
    """The tensors in dictionaries within dictionaries, by their names joined by dots."""
    tensors = {}
    for name, value in found.items():
        if isinstance(value, Tensor):
            tensors[f"{above}{name}"] = value
        elif isinstance(value, Mapping):
            tensors |= flat(value, f"{above}{name}.")
    return tensors


def headers_of(tensors: Mapping[str, Tensor]) -> dict[str, Header]:
    """The shapes of tensors that were read, for :func:`.checkpoint.check_tensors`."""
    return {name: Header(tuple(one.shape), "F32") for name, one in tensors.items()}


def refuse_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise an InputError that names the first tensor with infinity or no number (NaN) in it."""
    for name, weights in tensors.items():
        if bad := int((~weights.isfinite()).sum()):
            raise InputError(
                f"{path} is damaged: {bad:,} of {weights.numel():,} values of {name} are infinite "
                "or not numbers (NaN). Fetch the checkpoint again, or train it again with a lower "
                "learning rate."
            )
