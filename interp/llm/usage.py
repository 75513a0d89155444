"""Estimates of the tokens that a task reads and writes, before it runs."""

from typing import NamedTuple

CHARACTERS_A_TOKEN = 3.6
"""Of English text. Measured with the tokenizer of SmolLM2; the tests hold it against that."""


class Tokens(NamedTuple):
    """Tokens that a language model reads and writes. Cached instructions do not count."""

    read: int
    written: int

    def times(self, count: int) -> "Tokens":
        """The tokens of several equal tasks."""
        return Tokens(count * self.read, count * self.written)
