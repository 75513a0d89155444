"""The text that a simulator reads of an explanation, so that a page can show it word by word.

Needs no torch.
"""

from typing import NamedTuple

EXPLANATION_TOKENS = 128
"""Tokens of an explanation that trained simulators read; the rest of a longer one is cut off."""


class Reading(NamedTuple):
    """A prompt in three parts. Together they are the exact text."""

    before: str
    explanation: str
    after: str
    note: str
    """What the text does not show, in a sentence."""

    @property
    def text(self) -> str:
        return self.before + self.explanation + self.after
