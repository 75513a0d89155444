"""The facts in a sparse coder's files, read before they are loaded. Needs no torch.

``sparsify`` writes ``cfg.json`` and ``sae.safetensors``. Loaders say little of what is wrong with
them, and some faults they do not notice.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from interp.errors import InputError, reason
from interp.sources.paths import some

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
READ = (
    f"Palimpsest reads sparsify checkpoints: a folder with {CONFIG} (d_in, num_latents, k) and "
    f"{WEIGHTS}."
)
FOREIGN = {
    "sae_weights.safetensors": "SAELens",
    "sparsity.safetensors": "SAELens",
    "params.npz": "Gemma Scope",
    "ae.pt": "dictionary_learning",
}
"""Files that other libraries write, and nobody else."""
FLOATS = {"F16", "BF16", "F32", "F64"}
ACTIVATIONS = ("topk", "groupmax")


class Shapes(NamedTuple):
    """The sizes that a coder's ``cfg.json`` gives."""

    d_in: int
    num_latents: int
    k: int
    skip: bool


def find(path: Path, hookpoint: str) -> Path:
    """The folder of the checkpoint for a hookpoint: this one, or one in it named like that.

    Raises:
        InputError: Neither holds one: the message says what is there instead.
    """
    for folder in (path, path / hookpoint):
        if (folder / CONFIG).is_file():
            if library := _foreign(folder):
                raise InputError(_convert(folder, library))
            return folder
    for folder in (path, path / hookpoint):
        if library := _foreign(folder):
            raise InputError(_convert(folder, library))
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    for folder in inside:
        if library := _foreign(folder):
            raise InputError(_convert(folder, library))
    there = sorted((p.name for p in inside if (p / CONFIG).is_file()), key=_natural)
    holds = f" It holds coders for {some(there)}." if there else ""
    raise InputError(
        f"{path} holds no sparse coder for {hookpoint!r}: there is no {CONFIG} in it or in "
        f"{hookpoint}/.{holds} {READ}"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layers.9 before layers.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _foreign(folder: Path) -> str | None:
    """The other library that wrote a folder, if one did."""
    for name, library in FOREIGN.items():
        if (folder / name).is_file():
            return library
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return "SAELens" if isinstance(config, dict) and "d_sae" in config else None


def _convert(folder: Path, library: str) -> str:
    return f"{folder} is a {library} checkpoint, which is not supported. {READ} Convert it first."


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
        raise InputError(f"There is no file {path}. {READ}") from error
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
