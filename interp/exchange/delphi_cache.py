"""Activations as Delphi caches them: a file for each run of latents, written in bounded memory.

The library holds a file whole before it writes it. So the header is written here: the format is a
length, a JSON object with types, shapes and offsets, and the bytes of the tensors.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import prod
from shutil import copyfileobj
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from interp.corpus.activations import LatentActivations

SPLITS = 5
"""Files of a hookpoint, as many as Delphi makes."""
SMALLEST = 1e-5
"""Delphi keeps activations above this."""
LARGEST = float(np.finfo(np.float16).max)


def splits(latents: int) -> list[range]:
    """The runs of latents that have a file each, as Delphi cuts them."""
    edges = np.linspace(0, latents, SPLITS + 1).astype(int).tolist()
    return [range(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]


class Split:
    """The activations of a run of latents, kept on disk until all are there."""

    def __init__(self, latents: range, contexts: int, seq: int) -> None:
        self.latents, self._shape = latents, (contexts, seq)
        self._type = np.uint16 if max(len(latents), contexts, seq) <= 2**16 else np.uint32
        self._locations: IO[bytes] = TemporaryFile()  # noqa: SIM115
        self._activations: IO[bytes] = TemporaryFile()  # noqa: SIM115
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._locations.close()
        self._activations.close()

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.latents.start}_{self.latents.stop - 1}.safetensors"

    def add(self, latent: int, active: LatentActivations) -> None:
        """Add the activations of one of its latents."""
        kept = active.activations > SMALLEST
        number = np.full(int(kept.sum()), latent - self.latents.start)
        columns = (active.contexts[kept], active.positions[kept], number)
        self._locations.write(np.column_stack(columns).astype(self._type).tobytes())
        values = np.minimum(active.activations[kept], LARGEST)
        self._activations.write(values.astype(np.float16).tobytes())
        self._count += len(number)

    def write(self, out: IO[bytes], tokens: Iterable[NDArray[np.int64]]) -> Iterator[None]:
        """Write the file; stops after each block of tokens.

        Args:
            tokens: The tokens of all contexts, in blocks of shape (context, seq).
        """
        bits = np.dtype(self._type).itemsize * 8
        out.write(
            _header(
                {
                    "tokens": ("I64", 8, self._shape),
                    "locations": (f"U{bits}", bits // 8, (self._count, 3)),
                    "activations": ("F16", 2, (self._count,)),
                }
            )
        )
        for block in tokens:
            out.write(block.tobytes())
            yield
        for part in (self._locations, self._activations):
            part.seek(0)
            copyfileobj(part, out)
            yield


def _header(tensors: dict[str, tuple[str, int, tuple[int, ...]]]) -> bytes:
    """The head of a safetensors file with tensors of a type, its bytes, and a shape."""
    described, end = {}, 0
    for name, (kind, size, shape) in tensors.items():
        start, end = end, end + size * prod(shape)
        described[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
