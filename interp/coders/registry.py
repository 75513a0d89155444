"""The formats of sparse coders. Needs no torch.

To add one, write a file in :mod:`interp.sources.formats` that reads the facts of its checkpoints,
one in :mod:`interp.coders.formats` that loads them, and list it below.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from interp import registry
from interp.errors import InputError
from interp.registry import Registry
from interp.sources.checkpoint import Facts
from interp.sources.formats import (
    batch_top_k,
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    hook_z,
    linear_layers,
    llama_scope,
    openai,
    qwen_scope,
    saelens,
    sparsify,
)
from interp.sources.models import place_of, same_site
from interp.sources.paths import some

if TYPE_CHECKING:
    import torch

    from interp.coders.protocol import Coder


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of checkpoint."""

    name: str
    meaning: str
    """The files that it has, and their contents."""
    find: Callable[[Path], list[Path]]
    """The files of weights in a folder, one for each coder."""
    check: Callable[[Path], Facts]
    """Refuses weights that are damaged, or that contradict what lies beside them, with an
    InputError."""
    loader: str
    """Loads weights that were checked onto a device."""

    def load(self, weights: Path, device: "torch.device") -> "Coder":
        """Load a checkpoint.

        Raises:
            InputError: Its weights are no numbers.
            Exception: Any error that its library raises for damaged files.
        """
        loader: Callable[[Path, torch.device], Coder] = registry.load(self.loader)
        return loader(weights, device)


def _of(facts: ModuleType) -> Format:
    """The format whose facts a module reads, and another one of the same name loads."""
    name = facts.__name__.rpartition(".")[2]
    return Format(
        name=name,
        meaning=facts.FILES,
        find=facts.find,
        check=facts.check,
        loader=f"interp.coders.formats.{name}:load",
    )


FORMATS = Registry(
    "format of a sparse coder",
    _of(sparsify),
    _of(saelens),
    _of(gemma_scope),
    _of(gemma_scope_2),
    _of(circuit_tracer),
    _of(llama_scope),
    _of(dictionary_learning),
    _of(qwen_scope),
    _of(openai),
    _of(linear_layers),
    _of(batch_top_k),
    _of(hook_z),
)


@dataclass(frozen=True)
class Checkpoint:
    """The files of one sparse coder."""

    weights: Path
    format: Format

    @property
    def folder(self) -> Path:
        return self.weights.parent

    def check(self) -> Facts:
        """See :attr:`Format.check`."""
        return self.format.check(self.weights)


def find(path: Path, hookpoint: str = "") -> Checkpoint:
    """The checkpoint for a hookpoint: a file of weights, or what a folder, or a folder in it that
    is named like the hookpoint, holds. Of a coder for each layer, it is that of the hookpoint's.

    Raises:
        InputError: There is none, or there are several. The message lists the coders there.
    """
    if path.is_file():
        found = [one for one in _in(path.parent) if one.weights == path]
        if not found:
            raise InputError(
                f"{path} is no file of a sparse coder that Palimpsest knows. {_read()}"
            )
        return found[0]
    for folder in [path, path / hookpoint] if hookpoint else [path]:
        if there := _in(folder):
            return _of_layer(folder, there, hookpoint)
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    for folder in inside if hookpoint else []:
        # A name may begin higher up, as in model.layers.3.
        if same_site(folder.name, hookpoint) and (there := _in(folder)):
            return _of_layer(folder, there, hookpoint)
    names = sorted((p.name for p in inside if _in(p)), key=_natural)
    holds = f" It holds coders for {some(names)}." if names else ""
    here = f"{path} holds no sparse coder"
    raise InputError(
        f"{here} for {hookpoint!r}.{holds} {_read()}" if hookpoint else f"{here}.{holds} {_read()}"
    )


def _of_layer(folder: Path, there: list[Checkpoint], hookpoint: str) -> Checkpoint:
    if len(there) == 1:
        return there[0]
    place = place_of(hookpoint)
    of_layer = {_number(one.weights): one for one in there}
    if place is not None and place.layer in of_layer:
        return of_layer[place.layer]
    names = some(sorted((one.weights.name for one in there), key=_natural))
    raise InputError(
        f"{folder} holds {len(there)} coders, none of them for {hookpoint!r}: {names}."
        if hookpoint
        else f"{folder} holds {len(there)} coders: name one of the files {names}, or a hookpoint."
    )


def _number(weights: Path) -> int | None:
    """The layer in a file's name, such as ``layer_12.safetensors`` or ``gpt2-small_L5_z.pt``."""
    found = re.search(r"(?<![A-Za-z])L(?:ayer)?_?(\d+)|^(\d+)", weights.name, re.IGNORECASE)
    return int(found[1] or found[2]) if found else None


def _in(folder: Path) -> list[Checkpoint]:
    """The checkpoints in a folder, of the first format that has any there."""
    for one in FORMATS.values():
        if weights := one.find(folder):
            return [Checkpoint(path, one) for path in weights]
    return []


def _read() -> str:
    return f"Palimpsest reads {'; '.join(one.meaning for one in FORMATS.values())}."


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layers.9 before layers.10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
