"""What the files of a sparse coder say, read before it is loaded. Needs no torch."""

import json
import zipfile
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from safetensors import SafetensorError, safe_open

from interp.errors import InputError, reason

AGAIN = "Fetch the checkpoint again."


class Facts(NamedTuple):
    """What a coder's files say. None where they do not."""

    kind: Literal["transcoder", "sae"]
    d_in: int | None = None
    d_out: int | None = None
    num_latents: int | None = None
    k: int | None = None
    """Active latents of a token, if the number is fixed."""
    skip: bool = False
    reads: str = ""
    """The site that it reads, as its files name it; empty if they name none."""
    writes: str = ""
    model: str = ""
    """The model that it was trained on."""
    active: float | None = None
    """Mean number of active latents that its makers measured."""
    remark: str = ""
    """How it is read, in a sentence, where its files leave a choice."""


def of_model(error: InputError, facts: Facts) -> InputError:
    """The same error with the model that the coder was trained on, if its files name one."""
    if not facts.model:
        return error
    return InputError(f"{error} The coder's files name its model: {facts.model}.")


class Header(NamedTuple):
    """A tensor of a file."""

    shape: tuple[int, ...]
    type: str
    """As safetensors names types: F32, BF16, …"""


def read_config(path: Path) -> dict[str, Any]:
    """A JSON or YAML file with an object in it.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    parse = yaml.safe_load if path.suffix == ".yaml" else json.loads
    try:
        config = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}. {AGAIN}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {reason(error)}. {AGAIN}") from error
    if not isinstance(config, dict):
        kind = path.suffix[1:].upper()
        raise InputError(f"{path} must hold a {kind} object, not a {type(config).__name__}.")
    return config


def has(path: Path, *names: str) -> bool:
    """True if a config can be read, and has one of these names."""
    try:
        return bool({*names} & {*read_config(path)})
    except InputError:
        return False


def whole(path: Path, config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of at least 1 in the config that was read from a path.

    Raises:
        InputError: It is missing, or something else.
    """
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        said = "is missing" if value is None else f"is {value!r}"
        raise InputError(f"{path}: {name} {said}; it must be a whole number.")
    if value < 1:
        raise InputError(f"{path}: {name} is {value}; it must be at least 1.")
    return value


def number(path: Path, config: Mapping[str, Any], name: str) -> float:
    """A number in the config that was read from a path.

    Raises:
        InputError: It is missing, or something else.
    """
    value = config.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        said = "is missing" if value is None else f"is {value!r}"
        raise InputError(f"{path}: {name} {said}; it must be a number.")
    return float(value)


def flag(path: Path, config: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """A setting that is on or off in the config that was read from a path.

    Raises:
        InputError: It is something else.
    """
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{path}: {name} is {value!r}; it must be true or false.")
    return value


def check_active(path: Path, k: int, num_latents: int) -> None:
    """Refuse a number of active latents that is larger than the number of latents."""
    if k > num_latents:
        raise InputError(
            f"{path}: k is {k:,}, but there are {num_latents:,} latents only. No more latents can "
            "be active on a token than there are: correct k."
        )


def without_threshold(k: int) -> str:
    """The remark on a coder of batch top-k whose files hold no threshold."""
    return (
        f"It was trained with the {k:,} largest activations of a token on average over a batch, "
        "and holds no threshold: one is estimated on a study's text."
    )


def headers(path: Path) -> dict[str, Header]:
    """The tensors of a .safetensors or .npz file, without their values.

    Raises:
        InputError: There is no such file, or it is damaged.
    """
    try:
        return _arrays(path) if path.suffix == ".npz" else _tensors(path)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}. {AGAIN}") from error
    except (SafetensorError, zipfile.BadZipFile, ValueError, SyntaxError) as error:
        raise InputError(f"{path} is damaged or cut short. {AGAIN}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from error


def _tensors(path: Path) -> dict[str, Header]:
    with safe_open(path, "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: Header(tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()
        }


def _arrays(path: Path) -> dict[str, Header]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
                shape, _, dtype = read(file)
            kind = {"f": "F", "i": "I", "u": "U"}.get(dtype.kind, dtype.kind)
            found[member.removesuffix(".npy")] = Header(shape, f"{kind}{dtype.itemsize * 8}")
    return found


def check_tensors(
    path: Path,
    found: Mapping[str, Header],
    expected: Mapping[str, tuple[int, ...]],
    sizes: str,
    *,
    only: bool = False,
    because: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse a file whose tensors are not those expected.

    Args:
        expected: The shape of each tensor that must be there.
        sizes: Where the expected sizes come from, for the message.
        only: No other tensor may be there.
        because: Why a tensor is expected or not, by its name.

    Raises:
        InputError: The message names each tensor that is missing, transposed, or of another shape.
    """
    problems = []
    for name, shape in expected.items():
        if name not in found:
            problems.append(f"{name} is missing{because.get(name, '')}")
        elif (own := found[name].shape) != shape:
            turned = " (it is transposed)" if own == shape[::-1] else ""
            problems.append(f"{name} is {by(own)}, not {by(shape)}{turned}")
        elif found[name].type not in ("F16", "BF16", "F32", "F64"):
            problems.append(f"{name} is of type {found[name].type}, not a floating-point one")
    if only:
        more = sorted({*found} - {*expected})
        problems += [f"{name} is not expected{because.get(name, '')}" for name in more]
    if problems:
        there = ", ".join(sorted(found)) or "nothing"
        raise InputError(
            f"{path} does not fit {sizes}: {'; '.join(problems)}. It holds {there}. {AGAIN}"
        )


def width(found: Mapping[str, Header], name: str) -> int:
    """Length of a vector; 0 if it is missing or no vector."""
    shape = found[name].shape if name in found else ()
    return shape[0] if len(shape) == 1 else 0


def other_width(found: Mapping[str, Header], name: str, one: int) -> int:
    """The size of a matrix, one of whose sizes is known; 0 if it is missing or no matrix."""
    shape = found[name].shape if name in found else ()
    if len(shape) != 2:
        return 0
    return shape[0] if shape[1] == one else shape[1]


def by(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return " × ".join(f"{size:,}" for size in shape) or "a single number"
