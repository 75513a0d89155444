"""Simulated values and losses of a job that is not finished, as files: a job may change its worker,
and no table holds the values of a whole layer on so many contexts."""

import shutil
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.rewriting.splice import Values
from jobs.status import ACTIVE
from models import Job, Study
from models.settings import get_settings


class Parts:
    """The files of one job. Each is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, job: Job, study: Study, folder: str) -> Self:
        """Those of a job, in a folder of the study's."""
        return cls(get_settings().study_files(study.id) / folder / str(job.id))

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def has_block(self, start: int) -> bool:
        """True if a block of explanations is simulated."""
        return self._path("values", start).exists()

    def save_block(
        self,
        start: int,
        values: Float[np.ndarray, "context position explanation"],
        correlations: Float[np.ndarray, "explanation"] | None = None,
    ) -> None:
        """Keep the outcome of a block."""
        if correlations is not None:
            self._save("correlations", start, correlations)
        self._save("values", start, values.astype(np.float32))  # last, as it says that both are

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

    def missing(self, starts: list[int]) -> int:
        """The number of values that some blocks lack."""
        return sum(int(np.isnan(self.values(start)).sum()) for start in starts)

    def rewritten(self, starts: list[int]) -> int:
        """The number of explanations of some blocks that have any value."""
        return sum(int((~np.isnan(self.values(start))).any((0, 1)).sum()) for start in starts)

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


def remove_left(session: Session, study: Study, folder: str) -> None:
    """Remove the parts of jobs that have ended without a result."""
    active = select(Job.id).where(Job.study_id == study.id, Job.status.in_(ACTIVE))
    kept = {str(number) for number in session.scalars(active)}
    for one in (get_settings().study_files(study.id) / folder).glob("*"):
        if one.name not in kept:
            shutil.rmtree(one, ignore_errors=True)
