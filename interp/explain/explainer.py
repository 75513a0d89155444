"""Descriptions of explainers, and the record of a latent that they read. Needs no torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from interp import registry
from interp.corpus.activations import LatentActivations
from interp.explain.prompts import Shown
from interp.llm.llm import LLM, Message
from interp.llm.usage import Tokens
from interp.simulate.protocol import Simulated

if TYPE_CHECKING:
    from interp.explain.answers import Explained
    from interp.explain.refine import Step

PROMPT, ANSWER = 900, 60
"""Approximate tokens of a prompt with its examples, and of the answer."""


class Trial(NamedTuple):
    """The calibrate contexts, on which an explanation of a latent can be tested."""

    simulate: Callable[[str], Simulated]
    strings: Sequence[Sequence[str]]
    documents: Sequence[Any]
    real: NDArray[np.floating]
    """The latent's activations, shape (context, seq)."""
    seed: int


def no_trial() -> Trial:
    """The default of a record without a simulator."""
    raise ValueError("This latent has no calibrate contexts to test an explanation on.")


@dataclass(frozen=True, kw_only=True)
class LatentRecord:
    """The facts of a latent that explainers read."""

    index: int
    maximum: float
    """Its largest activation on the explain set."""
    first_position: int
    """Positions before it are not shown."""
    examples: Mapping[str, Sequence[Shown]]
    """Contexts of the explain set by kind: ``top``, ``quantile``, ``hard_negative``."""
    explanation: str | None = None
    """The current one."""
    trial: Callable[[], Trial] = field(default=no_trial)
    """Loads the calibrate contexts and the simulator.

    Raises:
        InputError: There is no simulator.
    """

    @property
    def shown(self) -> list[Shown]:
        """Contexts where it is active, strongest first."""
        return [*self.examples.get("top", ()), *self.examples.get("quantile", ())]

    @property
    def hard_negatives(self) -> list[Sequence[str]]:
        """Token strings of contexts like these where it is silent."""
        return [example.tokens for example in self.examples.get("hard_negative", ())]


class Counted(Protocol):
    """An explanation by an explainer that counts."""

    @property
    def text(self) -> str: ...
    @property
    def details(self) -> dict[str, float]:
        """Figures that are stored with it."""


CountLatent = Callable[[LatentActivations], "Counted | None"]
"""Explains a latent by its activations; None if it is never active."""


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """A way to write explanations."""

    name: str
    meaning: str
    version: str
    """Of its rules or its prompt; stored with every explanation."""

    def usage(self, latents: int) -> Tokens:
        """Tokens to explain some latents, not counting simulations."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Counting(Explainer):
    """An explainer that asks no language model, and reads the text once for all latents."""

    loader: str
    """A function as :meth:`prepare`."""

    def usage(self, latents: int) -> Tokens:
        return Tokens(0, 0)

    def prepare(self, strings: Sequence[Sequence[str]], *, first_position: int) -> CountLatent:
        """Read the text once, for all latents.

        Args:
            strings: Token strings of the explain contexts, in the order of the activations.
        """
        prepare: Callable[..., CountLatent] = registry.load(self.loader)
        return prepare(strings, first_position=first_position)


@dataclass(frozen=True, kw_only=True)
class Asking(Explainer):
    """An explainer that asks a language model, one latent after another."""

    loader: str = "interp.explain.answers:explain"
    """A function of this entry, a latent's record and a language model, as :meth:`explain`."""
    prompt: Callable[[LatentRecord], list[Message]] | None = None
    """Its prompt for a latent; None if the prompt needs a simulation first."""
    rounds: int = 1
    """Approximate number of questions about a latent."""

    def usage(self, latents: int) -> Tokens:
        return Tokens(PROMPT, ANSWER).times(latents * self.rounds)

    def explain(self, record: LatentRecord, llm: LLM) -> "Iterator[Explained | Step]":
        """Explain a latent: one answer, or several explanations in turn.

        Raises:
            ItemError: Nothing can be asked about this latent.
        """
        explain: Callable[..., Iterator[Explained | Step]] = registry.load(self.loader)
        return explain(self, record, llm)
