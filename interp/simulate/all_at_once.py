"""Simulate a latent on a whole text in one forward pass of a prompted language model.

After Bills et al., "Language models can explain neurons in language models" (2023): the text is
laid out one token a line, ``token<tab>``, and the activation of each token is read from the
distribution over the digits after its tab. Nothing is decoded.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from interp.llm.transformers import Prefix, Query, TransformersLLM

VERSION = "all_at_once-1"
"""Version of the prompt; stored with every simulator that uses it."""

PROMPT = (Path(__file__).parent / f"{VERSION}.txt").read_text(encoding="utf-8")
"""Instructions and worked examples. The explanation takes the place of ``{explanation}``."""


class Simulated(NamedTuple):
    """Simulated activations of one latent."""

    values: NDArray[np.float32]
    """Expected digit, 0 to 9, shape (context, seq); NaN where it is missing."""
    missing: int
    """Missing values, not counting positions that are not simulated at all."""
    tokens_read: int
    """Not counting the instructions, which are read once for all simulations."""
    seconds: float


class AllAtOnce:
    """The prompted simulator."""

    def __init__(self, llm: TransformersLLM) -> None:
        self.llm = llm

    @cached_property
    def _instructions(self) -> Prefix:
        return self.llm.read(self.llm.encode(PROMPT.partition(" {explanation}")[0]))

    def simulate(
        self, explanation: str, contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Simulated:
        """Simulate one latent on contexts given as token strings.

        Any simulator tokenizer will do: each subject token is written out on a line of its own.

        Args:
            first_position: Positions before it are not simulated: their values are NaN.
        """
        started = time.perf_counter()
        ending = self.llm.encode(PROMPT.partition(" {explanation}")[2])
        asked = self.llm.encode(" " + explanation) + ending
        prefix = self.llm.read(asked, self._instructions)
        queries = [self._query(tokens[first_position:]) for tokens in contexts]
        values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
        scale = torch.arange(10, dtype=torch.float32)
        for row, distribution in enumerate(self.llm.digit_distributions(prefix, queries)):
            values[row, first_position:] = (distribution @ scale).numpy()
        return Simulated(
            values,
            int(np.isnan(values[:, first_position:]).sum()),
            len(asked) + sum(len(query.ids) for query in queries),
            time.perf_counter() - started,
        )

    def _query(self, tokens: Sequence[str]) -> Query:
        tab, newline = self.llm.encode("\t"), self.llm.encode("\n")
        ids: list[int] = []
        read_at = []
        for token in tokens:
            ids += self.llm.encode(token.replace("\n", "\\n").replace("\t", "\\t")) + tab
            read_at.append(len(ids) - 1)
            ids += newline
        return Query(ids, read_at)
