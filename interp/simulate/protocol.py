"""The interface of a simulator to the rest of the program."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

TOP = 9.0
"""Simulators answer on a scale from 0 (silent) to 9 (the latent's maximum)."""


class Ask(NamedTuple):
    """A request to simulate. A simulator sees nothing of the latent but this."""

    explanation: str
    score: float | None = None
    """The explanation's correlation under this simulator, if the simulator is to be told how far
    it can be trusted."""
    latent: int | None = None
    """The latent's index. A cross-fitted simulator answers with an adapter that was not trained
    on it; no simulator reads it otherwise."""


class Simulated(NamedTuple):
    """Simulated activations of one latent."""

    values: NDArray[np.float32]
    """Raw values between 0 and 9, shape (context, seq); NaN where there is none."""
    failures: dict[str, int]
    """Why values are missing, with how many for each reason. Positions that are not simulated at
    all are not counted."""
    tokens_read: int
    """Not counting what is read once for all simulations, such as instructions."""
    tokens_written: int
    seconds: float

    @property
    def missing(self) -> int:
        """The number of missing values."""
        return sum(self.failures.values())


class Simulator(Protocol):
    """A method with its language model: an explanation and a text in, activations out."""

    @property
    def version(self) -> str:
        """Version of the method's prompt or training, stored with its simulations."""

    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """Simulate latents on the same contexts, one after another.

        Args:
            contexts: Token strings of the subject model, all of one length.
            first_position: Positions before it are not simulated: their values are NaN.
        """


@runtime_checkable
class ReadsPart(Protocol):
    """A simulator that reads only the beginning of a long explanation."""

    def unread(self, explanation: str) -> str:
        """The end of an explanation that it does not read. Empty if it reads all of it."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A simulator that can read explanations before it simulates them: many at once take less time
    each."""

    def read_ahead(self, asks: Sequence[Ask], following: Sequence[Ask]) -> None:
        """If some explanations are not read yet, read them, and with them those that follow."""
