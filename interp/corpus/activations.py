"""The activations of all latents on many contexts, kept in files and read in bounded memory.

Activations are kept sparse, in shards of a few hundred contexts. Within a shard they are sorted by
latent, so the activations of one latent are one slice of each shard. Collecting holds one shard in
memory, and reading holds the requested latents. Reading needs no torch, so that the web server can
read them.

A latent that is silent and a shard that is lost look alike, so a store knows what it should hold.
It reads nothing unless the shards there cover every context of the set.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from interp.errors import InputError

REMEDY = (
    "Put the files back, or run `palimpsest collect` for the study again: it makes what is "
    "missing or damaged, and keeps the rest."
)


class StoreError(InputError):
    """Activations that were collected are missing or damaged: the message names the file."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem} {REMEDY}")


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

    def latent(self, index: int, seq: int) -> "LatentActivations":
        """The places where a latent is active, in contexts of ``seq`` tokens."""
        entries = slice(*self.offsets[index : index + 2])
        contexts, positions = np.divmod(self.positions[entries].astype(np.int64), seq)
        return LatentActivations(contexts, positions, self.activations[entries])


class LatentActivations(NamedTuple):
    """The positions of one latent's activations in a set of contexts, and their values."""

    contexts: NDArray[np.int64]
    """Row of the context in its set, ascending."""
    positions: NDArray[np.int64]
    """Position in the context."""
    activations: NDArray[np.float32]

    def dense(self, rows: list[int], seq: int) -> NDArray[np.float32]:
        """Activations on these contexts, shape (rows, seq), zero where not active."""
        dense = np.zeros((len(rows), seq), np.float32)
        place = np.full(max([*rows, *self.contexts[-1:]], default=0) + 1, -1)
        place[rows] = np.arange(len(rows))
        at = place[self.contexts]
        asked = at >= 0
        dense[at[asked], self.positions[asked]] = self.activations[asked]
        return dense


class ActivationStore:
    """The shards of one set of contexts, as safetensors files in a folder.

    Args:
        seq: Tokens in a context.
        contexts: Number of contexts of the set.
        first_position: The first position of a context that is collected.
        latents: Number of latents of the coder, if it is known.
        about: The owner of the shards, such as the study and the coder. A shard that says something
            else is refused. Shards of older versions say nothing.
    """

    def __init__(
        self,
        folder: Path,
        seq: int,
        *,
        contexts: int,
        first_position: int,
        latents: int | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.seq = seq
        self.contexts = contexts
        self.first_position = first_position
        self.latents = latents
        self.about = dict(about or {})

    def path(self, start: int) -> Path:
        """File of the shard whose first context is ``start``."""
        return self.folder / f"{start:09d}.safetensors"

    def write(self, start: int, shard: Shard) -> None:
        """Save a shard. It is there whole or not at all.

        It takes the place of all shards that begin within it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        contexts = shard.tokens // (self.seq - self.first_position)
        says = {**self.about, "seq": str(self.seq), "contexts": str(contexts)}
        partial = self.path(start).with_suffix(".partial")
        save_file({**shard._asdict(), "tokens": np.array(shard.tokens)}, partial, says)
        # Without this, a power cut may leave a file of the right length that is full of zeros.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        for other in self._starts():
            if start < other < start + contexts:
                self.path(other).unlink()
        partial.replace(self.path(start))

    def missing(self) -> list[range]:
        """The contexts that no whole shard covers, as runs. It reads every shard whole.

        Contexts in a damaged shard, or in one that belongs to something else, count as missing.
        Writing them replaces those shards.
        """
        gaps, covered = [], 0
        for start in self._starts():
            try:
                with self._open(start, whole=True) as (_, contexts):
                    pass
            except StoreError:
                continue
            if not covered <= start < start + contexts <= self.contexts:
                continue
            if start > covered:
                gaps.append(range(covered, start))
            covered = start + contexts
        if covered < self.contexts:
            gaps.append(range(covered, self.contexts))
        return gaps

    def remove_strays(self) -> None:
        """Remove shards that overlap earlier ones or lie beyond the set.

        Only a set of which nothing is missing tells them from the others.

        Raises:
            StoreError: A shard cannot be read.
        """
        covered = 0
        for start in self._starts():
            if covered <= start < self.contexts:
                with self._open(start) as (_, contexts):
                    covered = start + contexts
            else:
                self.path(start).unlink()

    def check(self) -> None:
        """Open every shard, and look at its header.

        Raises:
            StoreError: A shard is missing, cut short, or belongs to something else.
        """
        for _ in self._shards():
            pass

    def verify(self) -> None:
        """Read every shard whole.

        Raises:
            StoreError: As :meth:`check`, or a shard holds what cannot have been written.
        """
        for _ in self._shards(whole=True):
            pass

    def summary(self) -> tuple[int, Float[np.ndarray, "d_model"]]:
        """The number of collected tokens, and the mean of the module's output over them.

        Raises:
            StoreError: As :meth:`check`.
        """
        tokens, total = 0, np.zeros(())
        for start, _, file in self._shards():
            tokens += int(file.get_tensor("tokens"))
            total = total + self._output_sum(self.path(start), file)
        return tokens, (total / tokens).astype(np.float32)

    def read(self, latents: range) -> Iterator[LatentActivations]:
        """The activations of a run of latents, one after another.

        Raises:
            StoreError: As :meth:`check`, or the activations read cannot be what was written.
        """
        nothing = (np.empty(0, np.int64), np.empty(0, np.float32))
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]]
        parts = [[nothing] for _ in latents]
        for start, contexts, file in self._shards():
            if (held := file.get_slice("offsets").get_shape()[0] - 1) < latents.stop:
                raise StoreError(
                    f"{self.path(start)} belongs to another coder: it holds {held:,} latents, and "
                    f"latent {latents.stop - 1:,} is asked for."
                )
            offsets = file.get_slice("offsets")[latents.start : latents.stop + 1].tolist()
            if offsets[0] == offsets[-1]:
                continue  # none of them is active here, and an empty slice cannot be read
            span = slice(offsets[0], offsets[-1])
            positions = file.get_slice("positions")[span].astype(np.int64)
            activations = file.get_slice("activations")[span]
            self._check_entries(self.path(start), contexts, offsets, positions, activations)
            positions += start * self.seq
            for i, part in enumerate(parts):
                own = slice(offsets[i] - offsets[0], offsets[i + 1] - offsets[0])
                part.append((positions[own], activations[own]))
        for part in parts:
            where = np.concatenate([p for p, _ in part])
            order = where.argsort(kind="stable")
            rows, places = np.divmod(where[order], self.seq)
            yield LatentActivations(rows, places, np.concatenate([a for _, a in part])[order])

    def _verify(self, path: Path, contexts: int, file: Any) -> None:
        """Read a shard whole.

        Raises:
            StoreError: It holds what cannot have been written.
        """
        self._output_sum(path, file)
        self._check_entries(
            path,
            contexts,
            file.get_tensor("offsets").tolist(),
            file.get_tensor("positions").astype(np.int64),
            file.get_tensor("activations"),
        )

    @staticmethod
    def _output_sum(path: Path, file: Any) -> Float[np.ndarray, "d_model"]:
        total: Float[np.ndarray, "d_model"] = file.get_tensor("output_sum")
        if not np.isfinite(total).all():
            raise StoreError(f"{path} is damaged: its sum of outputs is no number.")
        return total

    def _check_entries(
        self,
        path: Path,
        contexts: int,
        offsets: list[int],
        positions: NDArray[np.int64],
        activations: NDArray[np.float32],
    ) -> None:
        if not self._possible(contexts, offsets, positions, activations):
            raise StoreError(f"{path} is damaged: it holds activations that no latent can have.")

    def _possible(
        self,
        contexts: int,
        offsets: list[int],
        positions: NDArray[np.int64],
        activations: NDArray[np.float32],
    ) -> bool:
        """True if these can be entries of latents. A block of zeros, as of a bad disk, cannot."""
        if not len(positions) == len(activations) == offsets[-1] - offsets[0]:
            return False
        rising = np.diff(positions) > 0
        # Positions begin anew with each latent.
        rising[[o - offsets[0] - 1 for o in offsets if offsets[0] < o < offsets[-1]]] = True
        return bool(
            (np.diff(offsets) >= 0).all()
            and rising.all()
            and ((positions >= 0) & (positions < contexts * self.seq)).all()
            and (positions % self.seq >= self.first_position).all()
            and (activations > 0).all()
            and np.isfinite(activations).all()
        )

    def _starts(self) -> list[int]:
        found = (p for p in self.folder.glob("*.safetensors") if p.stem.isdecimal())
        return sorted(int(p.stem) for p in found if p == self.path(int(p.stem)))

    def _shards(self, *, whole: bool = False) -> Iterator[tuple[int, int, Any]]:
        """All shards, opened one after another: first context, contexts, file."""
        covered = 0
        for start in self._starts():
            if start > covered:
                break
            with self._open(start, whole=whole) as (file, contexts):
                if start < covered or start + contexts > self.contexts:
                    raise StoreError(
                        f"{self.path(start)} does not belong here: it holds contexts {start:,} to "
                        f"{start + contexts - 1:,} of a set of {self.contexts:,} that has "
                        f"{covered:,} before it."
                    )
                covered = start + contexts
                yield start, contexts, file
        if covered < self.contexts:
            lost = f"Activations of {self.contexts - covered:,} contexts are missing"
            if not self.folder.is_dir():
                raise StoreError(
                    f"{lost}: there is no folder {self.folder}. The data folder "
                    "(PALIMPSEST_HOME) may not be mounted here."
                )
            raise StoreError(f"{lost}: there is no file {self.path(covered)}.")

    @contextmanager
    def _open(self, start: int, *, whole: bool = False) -> Iterator[tuple[Any, int]]:
        """A shard's file, and how many contexts it holds. If ``whole``, all of it is verified."""
        path = self.path(start)
        try:
            with safe_open(path, "np") as file:
                contexts = self._contexts(path, file)
                if whole:
                    self._verify(path, contexts, file)
                yield file, contexts
        except SafetensorError as error:
            raise StoreError(f"{path} is damaged or cut short ({error}).") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error

    def _contexts(self, path: Path, file: Any) -> int:
        says = file.metadata() or {}
        for name, own in {**self.about, "seq": str(self.seq)}.items():
            if says.get(name, own) != own:
                raise StoreError(
                    f"{path} does not belong here: its {name} is {says[name]}, not {own}."
                )
        tokens, kept = int(file.get_tensor("tokens")), self.seq - self.first_position
        contexts = int(says.get("contexts", tokens // kept))
        offsets = file.get_slice("offsets")
        latents = offsets.get_shape()[0] - 1
        if self.latents not in (None, latents):
            raise StoreError(
                f"{path} belongs to another coder: it holds {latents:,} latents, not "
                f"{self.latents:,}."
            )
        entries = int(offsets[latents:][0])
        shapes = {file.get_slice(name).get_shape()[0] for name in ("positions", "activations")}
        if contexts < 1 or tokens != contexts * kept or shapes != {entries}:
            raise StoreError(
                f"{path} is damaged, or of contexts of another length: its parts do not fit "
                "together."
            )
        return contexts
