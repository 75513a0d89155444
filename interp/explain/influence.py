"""Other texts to try in place of an explanation: without one of its words, or with one more.

Which words do the work is measured by leaving them out, one at a time. Words to add are those on
which the explanation's predictions are too low. What a change is worth is not said here: simulate
the other text, and compare the correlations.

A choice among many texts looks better than it is on the documents that it was chosen on. So choose
on one half of them, and measure on the other.
"""

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from interp.explain.lexical import MIN_SEEN, gain, quote
from interp.explain.vocabulary import Vocabulary

SINGLE, PAIRS = 10, 5
"""Words to add, alone and after another word."""

_WORD = re.compile(r"\S+")
_MARKS = ",.;:!?"
_INSIDE = re.compile(r"“[^”]*”|\"[^\"]*\"|\([^)]*\)|[,;]")


class Span(NamedTuple):
    """A part of a text, by its characters."""

    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def words(text: str) -> list[Span]:
    """The words of a text. Brackets around a word and marks behind it are not part of it."""
    spans = []
    for match in _WORD.finditer(text):
        word = match[0].lstrip("(")
        start = match.end() - len(word)
        word = word.rstrip(_MARKS if "(" in word else f"{_MARKS})")
        if any(character.isalnum() for character in word):
            spans.append(Span(start, start + len(word)))
    return spans


def phrases(text: str) -> list[Span]:
    """The parts of two or more words between commas and semicolons, if there are several parts.

    A comma in quotation marks or brackets parts nothing.
    """
    cuts = [match.start() for match in _INSIDE.finditer(text) if match[0] in ",;"]
    if not cuts:
        return []
    edges = [-1, *cuts, len(text)]
    spans = []
    for start, end in pairwise(edges):
        inside = words(text[start + 1 : end])
        if len(inside) > 1:
            spans.append(Span(start + 1 + inside[0].start, start + 1 + inside[-1].end))
    return spans


def without(text: str, span: Span) -> str:
    """A text without a part of it. Marks that would stand alone go too."""
    rest = f"{text[: span.start]} {text[span.end :]}"
    rest = re.sub(r"\s+", " ", rest)
    rest = re.sub(r" ([,.;:!?)”])|(\() ", r"\1\2", rest)
    rest = rest.replace(" ()", "")
    rest = re.sub(r"[,;:]+(?=[,.;:])", "", rest)
    return rest.strip(" ,;:")


def adding(text: str, phrase: str) -> str:
    """A text with one phrase more at its end."""
    body, stop = (text[:-1], ".") if text.endswith(".") else (text, "")
    return f"{body}, {phrase}{stop}"


def additions(
    text: str,
    vocabulary: Vocabulary,
    missed: Float[np.ndarray, "context seq"],
    use: Bool[np.ndarray, " context"],
) -> list[str]:
    """The phrases whose words a text's predictions miss most, most promising first.

    For a word, alone or after another one, the tokens that it is part of are put together. The
    promise is the squared error that a constant added to the predictions of these tokens saves.

    Args:
        vocabulary: Of the contexts.
        missed: Real activation minus predicted; 0 where there is no prediction.
        use: The contexts to look at.

    Returns:
        At most ``SINGLE`` words and ``PAIRS`` pairs whose words the text does not have yet.
    """
    there = {word.lower() for word in re.findall(r"\w+", text)}
    inside = (vocabulary.word_of >= 0) & use[:, None]
    word, before, errors = (
        part[inside] for part in (vocabulary.word_of, vocabulary.before, missed)
    )
    single = _promise(word, errors)
    after = before >= 0
    number = len(vocabulary.words)
    pairs = _promise(before[after] * number + word[after], errors[after])

    def new(*ids: int) -> bool:
        named = [vocabulary.words[one] for one in ids]
        return all(any(map(str.isalnum, one)) for one in named) and not there.issuperset(named)

    alone = [quote(vocabulary.words[one]) for one in single if new(one)]
    behind = [
        f"{quote(vocabulary.words[one % number])} after {quote(vocabulary.words[one // number])}"
        for one in pairs
        if new(one % number, one // number)
    ]
    return alone[:SINGLE] + behind[:PAIRS]


def _promise(
    kinds: np.ndarray[tuple[int], np.dtype[np.int64]], errors: Float[np.ndarray, " token"]
) -> list[int]:
    """The kinds of tokens whose error could shrink, best first."""
    ids, inverse = np.unique(kinds, return_inverse=True)
    tokens = np.bincount(inverse, minlength=len(ids)).astype(np.float64)
    seen = np.bincount(inverse, errors > 0, minlength=len(ids))
    total = np.bincount(inverse, errors, minlength=len(ids)).astype(np.float64)
    saved = gain(total, tokens, np.zeros(len(ids)))
    order = [row for row in np.argsort(-saved, kind="stable") if saved[row] > 0]
    return [int(ids[row]) for row in order if seen[row] >= MIN_SEEN]
