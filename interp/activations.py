"""The activations of all latents on many contexts, kept in files and read in bounded memory.

Activations are kept sparse, in shards of a few hundred contexts. Within a shard they are sorted by
latent, so that the activations of one latent are one slice of each shard: collecting holds one
shard in memory, and reading holds the latents that are asked for. Reading needs no torch, so that
the web server can.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file


class Shard(NamedTuple):
    """The activations on a run of contexts, sorted by latent."""

    offsets: Int[np.ndarray, "latent+1"]
    """Latent ``i`` has the entries ``offsets[i]`` to ``offsets[i + 1]``."""
    positions: Int[np.ndarray, "entry"]
    """Where in the shard: context × context length + position."""
    activations: Float[np.ndarray, "entry"]
    output_sum: Float[np.ndarray, "d_model"]
    """Sum of the module's output over the collected tokens."""
    tokens: int
    """How many tokens were collected."""


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


class ActivationStore:
    """The shards of one set of contexts, as safetensors files in a folder."""

    def __init__(self, folder: Path, seq: int) -> None:
        self.folder = folder
        self.seq = seq

    def path(self, start: int) -> Path:
        """File of the shard whose first context is ``start``."""
        return self.folder / f"{start:09d}.safetensors"

    def has(self, start: int) -> bool:
        return self.path(start).is_file()

    def write(self, start: int, shard: Shard) -> None:
        """Save a shard; it is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.path(start).with_suffix(".partial")
        save_file({**shard._asdict(), "tokens": np.array(shard.tokens)}, partial)
        partial.replace(self.path(start))

    def _shards(self) -> Iterator[tuple[int, Path]]:
        for path in sorted(self.folder.glob("*.safetensors")):
            yield int(path.stem), path

    def summary(self) -> tuple[int, Float[np.ndarray, "d_model"]]:
        """How many tokens were collected, and the mean of the module's output over them."""
        tokens, total = 0, np.zeros(())
        for _, path in self._shards():
            with safe_open(path, "np") as file:
                tokens += int(file.get_tensor("tokens"))
                total = total + file.get_tensor("output_sum")
        return tokens, (total / tokens).astype(np.float32)

    def read(self, latents: range) -> Iterator[LatentActivations]:
        """The activations of a run of latents, one after another."""
        nothing = (np.empty(0, np.int64), np.empty(0, np.float32))
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]]
        parts = [[nothing] for _ in latents]
        for start, path in self._shards():
            with safe_open(path, "np") as file:
                offsets = file.get_slice("offsets")[latents.start : latents.stop + 1].tolist()
                if offsets[0] == offsets[-1]:
                    continue  # none of them is active here, and an empty slice cannot be read
                span = slice(offsets[0], offsets[-1])
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
