"""Which words of a text do the work: the request to the interactive worker, and its answer."""

from typing import Literal

from jobs.drafts import Difference, Message


class InfluenceRequest(Message):
    """How much does each word of this text matter, and which change would help?"""

    latent: int
    """Index of the latent."""
    text: str
    """The draft, cleaned as it is when it is saved."""


class WordInfluence(Message):
    """One word of the text."""

    start: int
    end: int
    """Characters of the text, the end not included."""
    influence: Difference | None = None
    """Correlation of the text minus that of the text without the word. None if not measured yet."""


class Suggestion(Message):
    """A change of the text that raises the correlation on the documents it was chosen on."""

    change: Literal["add", "remove"]
    phrase: str
    """What is added or removed."""
    text: str
    """The whole text after the change."""
    chosen: float
    """Gain of correlation on the half of the documents that the suggestion was chosen on."""
    checked: Difference
    """The same on the other half."""


class InfluenceAnswer(Message):
    """What is known so far. All figures are on the calibrate set, and nothing is saved."""

    text: str
    correlation: float | None
    """Of the text on all documents."""
    words: list[WordInfluence]
    suggestions: list[Suggestion]
    """The best ones of those that are measured, best first on the half they were chosen on."""
    measured: int
    planned: int
    """Texts to simulate. When all are measured, the answer is complete; until then, ask again."""
    documents_chosen: int
    documents_checked: int
    unread: str = ""
    """The end of the text, if the simulator reads only its beginning."""

    @property
    def complete(self) -> bool:
        return self.measured >= self.planned
