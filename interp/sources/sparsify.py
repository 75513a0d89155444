"""The facts in a checkpoint of ``sparsify``, read before it is loaded. Needs no torch.

``sparsify`` writes ``cfg.json`` and ``sae.safetensors``. Its loader says little of what is wrong
with them, and some faults it does not notice.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from interp.errors import InputError, reason
from interp.sources.checkpoint import Shapes

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
FILES = f"sparsify checkpoints: a folder with {CONFIG} (d_in, num_latents, k) and {WEIGHTS}"
FLOATS = {"F16", "BF16", "F32", "F64"}
ACTIVATIONS = ("topk", "groupmax")


def check(folder: Path) -> Shapes:
    """Refuse files that are damaged, or that contradict each other.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    shapes = _config(folder / CONFIG)
    _weights(folder / WEIGHTS, shapes)
    return shapes


def _config(path: Path) -> Shapes:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {reason(error)}. Fetch the checkpoint again."
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold a JSON object with d_in, num_latents and k.")
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
    return Shapes(d_in, num_latents, k, config.get("skip_connection", False))


def _size(path: Path, config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        said = "is missing" if value is None else f"is {value!r}"
        raise InputError(f"{path}: {name} {said}; it must be a whole number.")
    return value


def _weights(path: Path, shapes: Shapes) -> None:
    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
            types = {name: tensor.get_dtype() for name, tensor in tensors.items()}
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}. Palimpsest reads {FILES}.") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or cut short. Fetch the checkpoint again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from error
    latents, width = shapes.num_latents, shapes.d_in
    expected: dict[str, tuple[int, ...]] = {
        "encoder.weight": (latents, width),
        "encoder.bias": (latents,),
        "W_dec": (latents, width),
        "b_dec": (width,),
    }
    if shapes.skip:
        expected["W_skip"] = (width, width)
    problems = []
    for name, shape in expected.items():
        if name not in found:
            of_skip = ", though skip_connection is true" if name == "W_skip" else ""
            problems.append(f"{name} is missing{of_skip}")
        elif found[name] != shape:
            problems.append(f"{name} is {_by(found[name])}, not {_by(shape)}")
    for name in sorted(set(found) - set(expected)):
        of_skip = ", though skip_connection is false" if name == "W_skip" else ""
        problems.append(f"{name} is not expected{of_skip}")
    problems += [
        f"{name} is of type {kind}, not a floating-point one"
        for name, kind in types.items()
        if name in expected and kind not in FLOATS
    ]
    if problems:
        raise InputError(
            f"{path} does not fit its {CONFIG} (d_in {width:,}, num_latents {latents:,}): "
            f"{'; '.join(problems)}. Correct {CONFIG}, or fetch the checkpoint again."
        )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{size:,}" for size in shape)
