"""Simulate a latent one token at a time: a prompt for every position.

After Paulo and Belrose, "Partially Rewriting a Transformer in Natural Language" (2025). The model
gets the explanation and the text up to a marked token, and answers with a digit. The value is the
expected digit. It needs a prompt for every token, and the probabilities of the next token only.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from interp.errors import InputError
from interp.llm.llm import LLM, Query
from interp.llm.usage import Tokens
from interp.simulate.method import Prompted, PromptedOptions, prompted_usage
from interp.simulate.prompted.prompts import DIGITS, asking, expected, reading, reasons, written
from interp.simulate.protocol import Ask, Simulated
from interp.simulate.reads import Reading

VERSION = "last_token-1"
"""Version of the prompt; stored with every simulator that uses it."""
WINDOW = 32
"""Tokens of the text that are shown, the marked one included."""
MARKS = 9
"""Tokens of a prompt besides explanation and window."""


@dataclass
class LastToken:
    """The prompted simulator of the paper."""

    llm: LLM
    version: str = field(default=VERSION, init=False)

    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """See :class:`interp.simulate.protocol.Simulator`.

        Raises:
            InputError: The language model gives no probabilities.
        """
        if self.llm.reads == "nothing":
            raise InputError(
                f"{self.llm.name} gives no probabilities, which last_token reads. "
                "Use the method json_reply."
            )
        queries = [
            query(tokens[max(first_position, last + 1 - WINDOW) : last + 1])
            for tokens in contexts
            for last in range(first_position, len(tokens))
        ]
        shape = len(contexts), len(contexts[0])
        return (self._simulated(ask, queries, shape, first_position) for ask in asks)

    def _simulated(
        self, ask: Ask, queries: list[Query], shape: tuple[int, int], first_position: int
    ) -> Simulated:
        started = time.perf_counter()
        found = self.llm.distributions(asking(VERSION, ask), queries, DIGITS)
        values = np.full(shape, np.nan, np.float32)
        values[:, first_position:] = np.reshape(
            [expected(answers)[0] for answers in found], (shape[0], shape[1] - first_position)
        )
        return Simulated(
            values,
            reasons(answers.failures[0] for answers in found),
            sum(answers.tokens_read for answers in found),
            0,
            time.perf_counter() - started,
        )


def query(window: Sequence[str]) -> Query:
    """The question about the last token of a window."""
    *before, last = map(written, window)
    return Query([f"Text: {''.join(before)}<<{last}>>\nActivation:\t"])


def load(llm: LLM, options: PromptedOptions) -> LastToken:
    """The simulator on a language model."""
    return LastToken(llm)


def _usage(asked: float, *, contexts: int, seq: int) -> Tokens:
    windows = sum(min(last, WINDOW) + MARKS for last in range(1, seq + 1))
    return Tokens(round(asked + contexts * windows), 0)


def _reads(version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    (piece,) = query(tokens[-WINDOW:]).pieces
    note = "It is asked once for each token; this is the question about the last one."
    return reading(version, ask, piece, note)


LAST_TOKEN = Prompted(
    name="last_token",
    meaning="asks about one token at a time, as the paper does",
    version=lambda _: VERSION,
    usage=prompted_usage(_usage),
    reads=_reads,
    every_token=True,
    loader=f"{__name__}:load",
)
