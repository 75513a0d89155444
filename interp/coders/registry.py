"""The formats of sparse coders. Needs no torch.

To add one, write a file that reads the facts of its checkpoints (in :mod:`interp.sources`) and a
file that loads them, and list it below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interp import registry
from interp.errors import InputError
from interp.registry import Registry
from interp.sources import sparsify
from interp.sources.checkpoint import Shapes, foreign
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
    config: str
    """The file that identifies a folder."""
    check: Callable[[Path], Shapes]
    """Refuses a folder whose files are damaged or contradict each other, with an InputError."""
    loader: str
    """Loads a folder that was checked onto a device."""

    def load(self, folder: Path, device: "torch.device") -> "Coder":
        """Load a checkpoint.

        Raises:
            InputError: Its weights are no numbers.
            Exception: Any error that its library raises for damaged files.
        """
        loader: Callable[[Path, torch.device], Coder] = registry.load(self.loader)
        return loader(folder, device)


FORMATS = Registry(
    "format of a sparse coder",
    Format(
        name="sparsify",
        meaning=sparsify.FILES,
        config=sparsify.CONFIG,
        check=sparsify.check,
        loader="interp.coders.sparsify:load",
    ),
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a sparse coder."""

    folder: Path
    format: Format

    def check(self) -> Shapes:
        """See :attr:`Format.check`."""
        return self.format.check(self.folder)


def find(path: Path, hookpoint: str) -> Checkpoint:
    """The checkpoint for a hookpoint: this folder, or one in it named like that.

    Raises:
        InputError: Neither holds one. The message lists the coders that are there.
    """
    own = [path, path / hookpoint]
    for folder in own:
        if (found := _format(folder)) is not None:
            _refuse_foreign(folder)
            return Checkpoint(folder, found)
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    for folder in [*own, *inside]:
        _refuse_foreign(folder)
    there = sorted((p.name for p in inside if _format(p)), key=_natural)
    holds = f" It holds coders for {some(there)}." if there else ""
    configs = " or ".join(one.config for one in FORMATS.values())
    raise InputError(
        f"{path} holds no sparse coder for {hookpoint!r}: there is no {configs} in it or in "
        f"{hookpoint}/.{holds} {_read()}"
    )


def _format(folder: Path) -> Format | None:
    return next((one for one in FORMATS.values() if (folder / one.config).is_file()), None)


def _refuse_foreign(folder: Path) -> None:
    if library := foreign(folder):
        raise InputError(
            f"{folder} is a {library} checkpoint, which is not supported. {_read()} Convert it "
            "first."
        )


def _read() -> str:
    return f"Palimpsest reads {' or '.join(one.meaning for one in FORMATS.values())}."


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layers.9 before layers.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
