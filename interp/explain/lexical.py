"""Explain a latent by counting words; no language model is involved.

The sentence says which words the latent's activation falls on, with each word's share of the total
activation, on how many of their occurrences it is active, and which words tend to come just before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.activations import LatentActivations

VERSION = "lexical-1"
"""Version of the rules below; stored with every explanation they made."""

MAX_WORDS = 8
MIN_SHARE = 0.04
"""Words with less of the activation are not named."""
MIN_BEFORE = 0.15
"""Preceding words are named from this share on."""

MIN_COVERAGE = 0.25
"""If the named words have less of the activation than this together, they are only instances."""

VISIBLE = {"\n": "a line break", "": "a space"}


class LexicalExplanation(NamedTuple):
    text: str
    coverage: float
    """Share of the latent's activation that falls on the words that the text names."""
    precision: float
    """Share of the tokens of these words on which the latent is active."""


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

    @classmethod
    def of(cls, strings: Sequence[Sequence[str]], *, first_position: int) -> "Vocabulary":
        """Find the words of contexts given as token strings.

        A word is what stands between white space and punctuation; case is folded. A token is
        never cut: what it holds of several words is one word.
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
        return cls(list(index), word_of, before, counts)


def _words(tokens: Sequence[str]) -> list[tuple[list[int], str]]:
    """Group tokens into words: ([token numbers], word), in order."""
    groups: list[tuple[list[int], str]] = []
    for i, token in enumerate(tokens):
        bare = token.strip().lower()
        if i and tokens[i - 1][-1:].isalnum() and token[:1].isalnum():
            groups[-1] = ([*groups[-1][0], i], groups[-1][1] + bare)
        else:
            groups.append(([i], bare or ("\n" if "\n" in token else "")))
    return groups


def explain(latent: LatentActivations, vocabulary: Vocabulary) -> LexicalExplanation | None:
    """Put a latent's most active words into a sentence.

    Returns:
        None for a latent that is never active: there is nothing to say about it.
    """
    if not len(latent.activations):
        return None
    where = (latent.contexts, latent.positions)
    ids = vocabulary.word_of[where]
    words = _shares(ids, latent.activations)[:MAX_WORDS]
    named = [(word, share) for word, share in words if share >= MIN_SHARE]
    coverage = sum(share for _, share in named)
    before = _shares(vocabulary.before[where], latent.activations)[:2]
    preceding = [_quote(vocabulary.words[word]) for word, share in before if share >= MIN_BEFORE]
    after = f", mostly after {' or '.join(preceding)}" if preceding else ""
    if coverage < MIN_COVERAGE:
        some = ", ".join(_quote(vocabulary.words[word]) for word, _ in words)
        return LexicalExplanation(
            f"Active on many different words, such as {some}{after}.", 0.0, 0.0
        )
    chosen = [word for word, _ in named]
    precision = np.isin(ids, chosen).sum() / vocabulary.counts[chosen].sum()
    listed = ", ".join(f"{_quote(vocabulary.words[word])} ({share:.0%})" for word, share in named)
    others = " and on other words" if coverage < 0.8 else ""
    rarely = f", on about {precision:.0%} of their occurrences" if precision < 0.5 else ""
    text = f"Active on {listed}{others}{rarely}{after}."
    return LexicalExplanation(text, float(coverage), float(precision))


def _shares(ids: NDArray[np.int64], weights: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Share of all the weight that falls on each word, largest first."""
    words, inverse = np.unique(ids, return_inverse=True)
    totals = np.bincount(inverse, weights)
    order = np.argsort(-totals, kind="stable")
    return [(int(words[i]), float(totals[i] / weights.sum())) for i in order if words[i] >= 0]


def _quote(word: str) -> str:
    return VISIBLE.get(word, f"“{word}”")
