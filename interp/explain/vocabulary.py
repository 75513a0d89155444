"""The words of a set of contexts, counted once for all latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Vocabulary:
    """The words of a set of contexts: which word each token is part of."""

    words: list[str]
    word_of: NDArray[np.int64]
    """Index of the word that a token is part of, shape (context, seq); −1 for none."""
    before: NDArray[np.int64]
    """Index of the word before that word, shape (context, seq); −1 at the start of a context."""
    counts: NDArray[np.int64]
    """How many tokens each word has in all contexts."""
    pairs: NDArray[np.int64]
    """The pairs of words that occur: (word before × number of words + word), ascending."""
    pair_counts: NDArray[np.int64]
    """How many tokens of the second word each pair has."""

    @classmethod
    def of(cls, strings: Sequence[Sequence[str]], *, first_position: int) -> "Vocabulary":
        """Find the words of contexts given as token strings.

        White space and punctuation separate words, and case is folded. A token is never cut: what
        it holds of several words is one word.
        """
        index: dict[str, int] = {}
        shape = (len(strings), len(strings[0]) if strings else 0)
        word_of = np.full(shape, -1, np.int64)
        before = np.full(shape, -1, np.int64)
        for row, tokens in enumerate(strings):
            previous, current = -1, -1
            for ids, word in _words(tokens[first_position:]):
                previous, current = current, index.setdefault(word, len(index))
                for i in ids:
                    word_of[row, first_position + i] = current
                    before[row, first_position + i] = previous
        counts = np.bincount(word_of[word_of >= 0], minlength=len(index))
        inside = before >= 0
        pairs, pair_counts = np.unique(
            before[inside] * len(index) + word_of[inside], return_counts=True
        )
        return cls(list(index), word_of, before, counts, pairs, pair_counts)


def _words(tokens: Sequence[str]) -> list[tuple[list[int], str]]:
    """Group tokens into words: ([token numbers], word), in order."""
    groups: list[tuple[list[int], str]] = []
    last, pieces = "", list[int]()
    for i, token in enumerate(tokens):
        if not token:  # a piece of a character, which is in a later token
            pieces.append(i)
            continue
        bare = token.strip().lower()
        if last[-1:].isalnum() and token[:1].isalnum():
            groups[-1] = ([*groups[-1][0], *pieces, i], groups[-1][1] + bare)
        else:
            groups.append(([*pieces, i], bare or ("\n" if "\n" in token else "")))
        last, pieces = token, []
    return [*groups, (pieces, "")] if pieces else groups
