"""What a task will have a language model read and write, before it has run."""

from typing import NamedTuple

CHARACTERS_A_TOKEN = 3.6
"""Of English text. Measured with the tokenizer of SmolLM2; the tests hold it against that."""


class Tokens(NamedTuple):
    """Tokens that a language model reads and writes. Instructions that are kept do not count."""

    read: int
    written: int

    def times(self, count: int) -> "Tokens":
        """Of so many equal tasks."""
        return Tokens(count * self.read, count * self.written)
