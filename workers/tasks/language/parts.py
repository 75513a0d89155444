"""The parts of a language test that is not finished, as files: a job may change its worker."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp.rewriting.splice import Values


class Parts:
    """The files of one test. Each is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_block(self, start: int) -> bool:
        """True if a block of explanations is simulated."""
        return all(self._path(what, start).exists() for what in ("values", "correlations"))

    def save_block(
        self,
        start: int,
        correlations: Float[np.ndarray, "explanation"],
        values: Float[np.ndarray, "context position explanation"],
    ) -> None:
        """Keep the outcome of a block."""
        self._save("values", start, values.astype(np.float32))
        self._save("correlations", start, correlations)  # last, as it says that both are there

    def correlations(self, start: int) -> Float[np.ndarray, "explanation"]:
        """Of a block."""
        return np.asarray(np.load(self._path("correlations", start)))

    def values(self, start: int) -> Float[np.ndarray, "context position explanation"]:
        """Calibrated values of a block. They stay on disk until they are read."""
        return np.asanyarray(np.load(self._path("values", start), mmap_mode="r"))

    def spliced(self, starts: list[int], latents: list[int]) -> Values:
        """The values of some blocks, for a splice.

        Args:
            latents: The latents of all blocks, in their order.
        """
        blocks = [self.values(start) for start in starts]

        def at(rows: Tensor) -> Float[Tensor, "batch position rewritten"]:
            return torch.from_numpy(np.concatenate([one[rows.numpy()] for one in blocks], axis=2))

        return Values(torch.tensor(latents), at)

    def has_contexts(self, start: int) -> bool:
        """True if the losses on some contexts are measured."""
        return self._path("losses", start).exists()

    def save_contexts(self, start: int, measured: "Measured") -> None:
        """Keep the losses on some contexts."""
        self._save("losses", start, np.stack(measured))

    def contexts(self, starts: list[int]) -> "Measured":
        """The losses on all contexts."""
        found = np.concatenate([np.load(self._path("losses", start)) for start in starts], axis=2)
        return Measured(found[0], found[1])

    def _path(self, what: str, start: int) -> Path:
        return self.folder / f"{what}-{start}.npy"

    def _save(self, what: str, start: int, array: NDArray[np.floating]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(what, start)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, array)
        partial.replace(path)


class Measured(NamedTuple):
    """Figures of each splice on each context, in nats."""

    losses: Float[np.ndarray, "splice context"]
    kls: Float[np.ndarray, "splice context"]
