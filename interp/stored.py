"""Read collected activations, a latent at a time.

Needs no torch, so that the web server can show where a latent is really active.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open


class LatentActivations(NamedTuple):
    """Where one latent is active in a set of contexts, and how much."""

    contexts: NDArray[np.int64]
    """Row of the context in its set, ascending."""
    positions: NDArray[np.int64]
    """Position in the context."""
    activations: NDArray[np.float32]

    def dense(self, rows: list[int], seq: int) -> NDArray[np.float32]:
        """Activations on these contexts, shape (rows, seq), zero where not active."""
        where = {row: i for i, row in enumerate(rows)}
        dense = np.zeros((len(rows), seq), np.float32)
        for context in set(rows):
            entries = slice(*np.searchsorted(self.contexts, [context, context + 1]))
            dense[where[context], self.positions[entries]] = self.activations[entries]
        return dense


class StoredActivations:
    """The shards of one set of contexts, as safetensors files in a folder."""

    def __init__(self, folder: Path, seq: int) -> None:
        self.folder = folder
        self.seq = seq

    def shards(self) -> Iterator[tuple[int, Path]]:
        """Each shard's first context, and its file."""
        for path in sorted(self.folder.glob("*.safetensors")):
            yield int(path.stem), path

    def read(self, latents: range) -> Iterator[LatentActivations]:
        """The activations of a run of latents, one after another."""
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = [[] for _ in latents]
        for start, path in self.shards():
            with safe_open(path, "numpy") as file:
                offsets = file.get_tensor("offsets")[latents.start : latents.stop + 1].tolist()
                span = slice(offsets[0], offsets[-1])
                if span.start == span.stop:  # an empty slice cannot be read at the end of a file
                    for part in parts:
                        part.append((np.empty(0, np.int64), np.empty(0, np.float32)))
                    continue
                positions = file.get_slice("positions")[span].astype(np.int64)
                activations = file.get_slice("activations")[span]
            positions += start * self.seq
            for i, part in enumerate(parts):
                own = slice(offsets[i] - offsets[0], offsets[i + 1] - offsets[0])
                part.append((positions[own], activations[own]))
        for part in parts:
            where = np.concatenate([p for p, _ in part])
            order = where.argsort(kind="stable")
            contexts, positions = np.divmod(where[order], self.seq)
            yield LatentActivations(
                contexts, positions, np.concatenate([a for _, a in part])[order]
            )
