"""Simulate a latent on a whole text in one forward pass of a prompted language model.

After Bills et al., "Language models can explain neurons in language models" (2023). The text is
laid out one token a line, ``token<tab>``. The activation of each token is read from the
distribution over the digits after its tab. Nothing is decoded.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from interp.errors import InputError
from interp.llm.llm import LLM, Query
from interp.llm.usage import Tokens
from interp.simulate.method import Prompted, PromptedOptions, prompted_usage
from interp.simulate.prompted.prompts import DIGITS, asking, expected, reading, reasons, written
from interp.simulate.protocol import Ask, Simulated
from interp.simulate.reads import Reading

VERSION = "all_at_once-1"
"""Version of the prompt; stored with every simulator that uses it."""
SCORE_VERSION = "all_at_once_score-1"
"""The prompt that also says how well the explanation has predicted the latent so far."""

LINE = 3.0
"""Tokens of the simulator to show one token of the subject on a line of its own. Measured, as
:data:`interp.llm.usage.CHARACTERS_A_TOKEN`."""


@dataclass
class AllAtOnce:
    """The prompted simulator, on a language model that can be read anywhere in a text."""

    llm: LLM
    show_score: bool = False
    """Whether the model is told :attr:`Ask.score`."""

    @property
    def version(self) -> str:
        return SCORE_VERSION if self.show_score else VERSION

    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """See :class:`interp.simulate.protocol.Simulator`.

        Any simulator tokenizer will do: each subject token is written out on a line of its own.

        Raises:
            InputError: The language model cannot be read inside a text.
        """
        if self.llm.reads != "anywhere":
            other = "last_token" if self.llm.reads == "end" else "json_reply"
            raise InputError(
                f"{self.llm.name} does not give the probabilities inside a text, which all_at_once "
                f"reads. Use the method {other}."
            )
        queries = [query(tokens[first_position:]) for tokens in contexts]
        shape = len(contexts), len(contexts[0])
        return (self._simulated(ask, queries, shape) for ask in asks)

    def _simulated(self, ask: Ask, queries: list[Query], shape: tuple[int, int]) -> Simulated:
        started = time.perf_counter()
        found = self.llm.distributions(asking(self.version, ask), queries, DIGITS)
        values = np.full(shape, np.nan, np.float32)
        for row, answers in zip(values, found, strict=True):
            row[shape[1] - len(answers.failures) :] = expected(answers)
        return Simulated(
            values,
            reasons(failure for answers in found for failure in answers.failures),
            sum(answers.tokens_read for answers in found),
            0,
            time.perf_counter() - started,
        )


def query(tokens: Sequence[str]) -> Query:
    """A text as it is laid out."""
    return Query([("\n" if i else "") + written(token) + "\t" for i, token in enumerate(tokens)])


class Options(PromptedOptions):
    """Options of this method."""

    show_score: bool = False
    """Tell the model how well the explanation has predicted so far."""

    @property
    def version(self) -> str:
        """Version of the prompt."""
        return SCORE_VERSION if self.show_score else VERSION


def load(llm: LLM, options: Options) -> AllAtOnce:
    """The simulator on a language model."""
    return AllAtOnce(llm, options.show_score)


def _usage(asked: float, *, contexts: int, seq: int) -> Tokens:
    return Tokens(round(asked + LINE * contexts * seq), 0)


def _reads(version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    note = "The activation of each token is read after its tab, in one pass."
    return reading(version, ask, "".join(query(tokens).pieces), note)


ALL_AT_ONCE = Prompted(
    name="all_at_once",
    meaning="reads all activations of a text in one pass",
    options=Options,
    version=lambda options: options.version,
    usage=prompted_usage(_usage),
    reads=_reads,
    loader=f"{__name__}:load",
)
