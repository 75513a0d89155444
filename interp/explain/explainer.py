"""What an explainer says of itself, and what it may look at of a latent. Needs no torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from interp import registry
from interp.corpus.activations import LatentActivations
from interp.explain.prompts import Shown
from interp.llm.cost import Tokens
from interp.llm.llm import LLM, Message
from interp.simulate.protocol import Simulated

if TYPE_CHECKING:
    from interp.explain.answers import Explained
    from interp.explain.refine import Step

PROMPT, ANSWER = 900, 60
"""Tokens of a prompt with its examples, and of what it is answered with, about."""


class Trial(NamedTuple):
    """Where a wording of a latent can be tried out: the calibrate contexts."""

    simulate: Callable[[str], Simulated]
    strings: Sequence[Sequence[str]]
    documents: Sequence[Any]
    real: NDArray[np.floating]
    """The latent's activations, shape (context, seq)."""
    seed: int


def no_trial() -> Trial:
    """Stands where there is no simulator to try a wording with."""
    raise ValueError("This latent has no calibrate contexts to try a wording on.")


@dataclass(frozen=True, kw_only=True)
class LatentRecord:
    """All that explainers are given of a latent."""

    index: int
    maximum: float
    """Its largest activation on the explain set."""
    first_position: int
    """Positions before it are not shown."""
    examples: Mapping[str, Sequence[Shown]]
    """Contexts of the explain set by kind: ``top``, ``quantile``, ``near_miss``."""
    explanation: str | None = None
    """The current one."""
    trial: Callable[[], Trial] = field(default=no_trial)
    """Reads what is needed to try a wording out; it raises an InputError where that cannot be."""

    @property
    def shown(self) -> list[Shown]:
        """Contexts where it is active, from the strongest on."""
        return [*self.examples.get("top", ()), *self.examples.get("quantile", ())]

    @property
    def near_misses(self) -> list[Sequence[str]]:
        """Token strings of contexts like these where it is silent."""
        return [example.tokens for example in self.examples.get("near_miss", ())]


class Counted(Protocol):
    """An explanation that no language model wrote."""

    @property
    def text(self) -> str: ...
    @property
    def details(self) -> dict[str, float]:
        """Figures that are kept with it."""


Count = Callable[[LatentActivations], "Counted | None"]
"""Explains a latent by where it is active; None if there is nothing to say about it."""


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """A way to write explanations."""

    name: str
    meaning: str
    version: str
    """Of its rules or its prompt; stored with every explanation."""

    def cost(self, latents: int) -> Tokens:
        """Tokens to explain some latents, not counting simulations."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Counting(Explainer):
    """An explainer that asks no language model, and is told of all latents in one go."""

    loader: str
    """From the token strings of the explain contexts to a :data:`Count`."""

    def cost(self, latents: int) -> Tokens:
        return Tokens(0, 0)

    def prepare(self, strings: Sequence[Sequence[str]], *, first_position: int) -> Count:
        """Look at the text once, for all latents.

        Args:
            strings: Token strings of the explain contexts, in the order of the activations.
        """
        prepare: Callable[..., Count] = registry.load(self.loader)
        return prepare(strings, first_position=first_position)


@dataclass(frozen=True, kw_only=True)
class Asking(Explainer):
    """An explainer that asks a language model, one latent after another."""

    loader: str = "interp.explain.answers:explain"
    """From this entry, a latent's record and a language model to what it finds."""
    prompt: Callable[[LatentRecord], list[Message]] | None = None
    """What it asks about a latent; None if that takes a simulation first."""
    rounds: int = 1
    """How often it asks about a latent, about."""

    def cost(self, latents: int) -> Tokens:
        return Tokens(PROMPT, ANSWER).times(latents * self.rounds)

    def explain(self, record: LatentRecord, llm: LLM) -> "Iterator[Explained | Step]":
        """Explain a latent: an answer, or several wordings in turn.

        Raises:
            ItemError: Nothing can be asked about this latent.
        """
        explain: Callable[..., Iterator[Explained | Step]] = registry.load(self.loader)
        return explain(self, record, llm)
