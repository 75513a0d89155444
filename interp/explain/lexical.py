"""Explain a latent by counting words, without a language model.

The sentence names the words on which the latent is active, how often, and each word's share of the
total activation. If it makes a difference, it names the words before them too. The explainer
ignores the tokens that follow, because a causal model does not see them.

The words are chosen one by one, each time the one that best improves a guess at the activations: a
word on its own, or a word after another one. The guess for all tokens of a choice is their mean
activation, and the improvement is in squared error.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.corpus.activations import LatentActivations
from interp.explain.explainer import Counting, CountLatent
from interp.explain.vocabulary import Vocabulary

if TYPE_CHECKING:
    from interp.corpus.contexts import Contexts

VERSION = "lexical-2"
"""Version of the rules below; stored with every explanation they made."""

MAX_NAMED = 14
"""Words that a sentence names at most, preceding ones included."""
MIN_GAIN = 0.01
"""A choice must improve the guess by so much of what all choices before it did."""
MIN_SHARE = 0.01
"""A choice must have so much of the activation."""
MIN_SEEN = 2
"""A pair must have been active so many times: one time may be chance."""
SIMPLER = 0.5
"""A word alone is chosen over a pair that saves little more."""
PRIOR = 4.0
"""A choice's mean is drawn towards the latent's as if it had so many more tokens."""
MIN_COVERAGE = 0.25
"""If the choices have less of the activation than this together, they are only instances."""
MAX_INSTANCES = 10
MIN_BEFORE = 0.15
"""Among instances, preceding words are named from this share of the activation on."""

LEVELS = ((0.8, ""), (0.4, "often"), (0.1, "sometimes"), (0.0, "rarely"))
"""How often the latent is active, in words: from such a share of the tokens on."""

VISIBLE = {"\n": "a line break", "": "a space"}


class Term(NamedTuple):
    """A word that a latent is active on."""

    word: str
    share: float
    """Share of the latent's activation that falls on it (after the named words, if it is active
    after them only)."""
    rate: float | None
    """Share of its tokens on which the latent is active, those after the named words left out.
    None if it is not named but after these."""
    after: tuple[str, ...] = ()
    """Words before it that make a difference."""
    rate_after: float | None = None
    """Share of its tokens after these words on which the latent is active."""


class LexicalExplanation(NamedTuple):
    text: str
    coverage: float | None
    """Share of the latent's activation that falls on what the text names; None where that is only
    some instances of many."""
    precision: float | None
    """Share of the tokens that the text names on which the latent is active; None likewise."""
    terms: list[Term]

    @property
    def details(self) -> dict[str, float]:
        """The figures that there are."""
        figures = {"coverage": self.coverage, "precision": self.precision}
        return {name: value for name, value in figures.items() if value is not None}


class _Cells(NamedTuple):
    """Kinds of tokens on which a latent is active: words, or pairs of words."""

    ids: NDArray[np.int64]
    total: NDArray[np.float64]
    """Sum of the latent's activations on each kind."""
    active: NDArray[np.float64]
    """Tokens of each kind on which it is active."""
    tokens: NDArray[np.float64]
    """All tokens of each kind."""

    def sums(self, rows: list[int]) -> NDArray[np.float64]:
        """Activation, active tokens and tokens of some kinds together."""
        return np.array([part[rows].sum() for part in self[1:]])


def explain(latent: LatentActivations, vocabulary: Vocabulary) -> LexicalExplanation | None:
    """Put the words that tell most about a latent into a sentence.

    Returns:
        None for a latent that is never active: there is nothing to say about it.
    """
    if not len(latent.activations):
        return None
    where = (latent.contexts, latent.positions)
    word, before = vocabulary.word_of[where], vocabulary.before[where]
    numbers = np.arange(len(vocabulary.words))
    words = _cells(word, latent.activations, numbers, vocabulary.counts)
    inside = before >= 0
    pair = before[inside] * len(numbers) + word[inside]
    pairs = _cells(pair, latent.activations[inside], vocabulary.pairs, vocabulary.pair_counts)
    chosen = _choose(words, pairs, vocabulary)

    everything, named = words.total.sum(), np.zeros(3)
    terms = []
    for word_row, pair_rows, alone in chosen:
        rest = words.sums([word_row]) - pairs.sums(pair_rows)
        after = pairs.sums(pair_rows)
        both = after + rest * alone
        named += both
        terms.append(
            Term(
                vocabulary.words[words.ids[word_row]],
                float(both[0] / everything),
                float(rest[1] / rest[2]) if alone else None,
                tuple(vocabulary.words[i] for i in pairs.ids[pair_rows] // len(numbers)),
                float(after[1] / after[2]) if pair_rows else None,
            )
        )
    terms.sort(key=lambda term: -term.share)
    if named[0] < MIN_COVERAGE * everything:
        preceding = _cells(before[inside], latent.activations[inside], numbers, vocabulary.counts)
        return _instances(words, preceding, vocabulary)
    coverage, precision = float(named[0] / everything), float(named[1] / named[2])
    return LexicalExplanation(_sentence(terms, coverage), coverage, precision, terms)


def _cells(
    ids: NDArray[np.int64],
    activations: NDArray[np.float32],
    known: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> _Cells:
    """CountLatent the active tokens by their kind.

    Args:
        ids: The kind of each active token.
        known: All kinds, ascending.
        counts: The number of tokens of each of them.
    """
    found, inverse = np.unique(ids, return_inverse=True)
    return _Cells(
        found,
        np.bincount(inverse, activations, len(found)).astype(np.float64),
        np.bincount(inverse, minlength=len(found)).astype(np.float64),
        counts[np.searchsorted(known, found)].astype(np.float64),
    )


def _choose(
    words: _Cells, pairs: _Cells, vocabulary: Vocabulary
) -> list[tuple[int, list[int], bool]]:
    """The words to name: (row of the word, rows of its pairs, whether it is named without too)."""
    of_word = np.searchsorted(words.ids, pairs.ids % len(vocabulary.words))
    guess = np.full(len(words.ids), words.total.sum() / vocabulary.counts.sum())
    rest_total, rest_tokens = words.total.copy(), words.tokens.copy()
    least = MIN_SHARE * words.total.sum()
    named, taken = np.zeros(len(words.ids), bool), np.zeros(len(pairs.ids), bool)
    order: list[int] = []
    gained = 0.0
    while (room := MAX_NAMED - len(set(order)) - int(taken.sum())) > 0:
        words_open = ~named & (rest_total >= least)
        pairs_open = ~taken & (pairs.total >= least) & (pairs.active >= MIN_SEEN)
        pairs_open &= (room > 1) | np.isin(of_word, order)
        gains = np.concatenate(
            [
                np.where(words_open, gain(rest_total, rest_tokens, guess), 0),
                np.where(pairs_open, SIMPLER * gain(pairs.total, pairs.tokens, guess[of_word]), 0),
            ]
        )
        best = int(gains.argmax())
        if not gains[best] > MIN_GAIN * gained:
            break
        gained += gains[best]
        if best < len(named):
            row, named[best] = best, True
        else:
            pair = best - len(named)
            row, taken[pair] = int(of_word[pair]), True
            rest_total[row] -= pairs.total[pair]
            rest_tokens[row] -= pairs.tokens[pair]
        if named[row]:
            guess[row] = rest_total[row] / max(rest_tokens[row], 1)
        order.append(row)
    chosen = []
    for row in dict.fromkeys(order):
        own = np.flatnonzero(taken & (of_word == row))
        own = own[np.argsort(-pairs.total[own], kind="stable")]
        rest = words.active[row] - pairs.active[own].sum()
        # What is left of a word beside its pairs may be too little to speak of.
        alone = named[row] and (not len(own) or rest > LEVELS[-2][0] * rest_tokens[row])
        chosen.append((row, own.tolist(), bool(alone)))
    return chosen


def gain(
    total: NDArray[np.float64], tokens: NDArray[np.float64], guess: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The squared error saved by guessing a kind's own mean, if that is higher."""
    mean = (total + PRIOR * guess) / (tokens + PRIOR)
    return np.where(mean > guess, 2 * (mean - guess) * total - (mean**2 - guess**2) * tokens, 0)


def _instances(words: _Cells, before: _Cells, vocabulary: Vocabulary) -> LexicalExplanation:
    """The words that tell most about a latent of many different words, and what often precedes."""
    everything = words.total.sum()
    gains = gain(words.total, words.tokens, np.array(everything / vocabulary.counts.sum()))
    best = np.lexsort((-words.total, -gains))[:MAX_INSTANCES]
    terms = [
        Term(
            vocabulary.words[words.ids[row]],
            float(words.total[row] / everything),
            float(words.active[row] / words.tokens[row]),
        )
        for row in best
    ]
    often = [
        quote(vocabulary.words[before.ids[row]])
        for row in np.argsort(-before.total, kind="stable")[:2]
        if before.total[row] >= MIN_BEFORE * everything
    ]
    after = f", often after {' or '.join(often)}" if often else ""
    some = ", ".join(quote(term.word) for term in terms)
    return LexicalExplanation(
        f"Active on many different words, such as {some}{after}.", None, None, terms
    )


def _sentence(terms: list[Term], coverage: float) -> str:
    """All terms by how often the latent is active on them, most often first."""
    groups: dict[str, list[str]] = {level: [] for _, level in LEVELS}
    for term in terms:
        rate = term.rate if term.rate is not None else term.rate_after
        assert rate is not None
        how = "especially after" if term.rate is not None else "after"
        after = f", {how} {_list(term.after)}" if term.after else ""
        groups[_level(rate)].append(f"{quote(term.word)} ({term.share:.0%}{after})")
    said = [f"{level} on {', '.join(group)}".strip() for level, group in groups.items() if group]
    others = "; and on other words" if coverage < 0.8 else ""
    return f"Active {'; '.join(said)}{others}."


def _level(rate: float) -> str:
    return next(level for least, level in LEVELS if rate >= least)


def _list(words: Sequence[str]) -> str:
    *others, last = map(quote, words)
    return f"{', '.join(others)} or {last}" if others else last


def quote(word: str) -> str:
    """A word as a sentence names it."""
    return VISIBLE.get(word, f"“{word}”")


def prepare(strings: Sequence[Sequence[str]], *, first_position: int) -> CountLatent:
    """CountLatent the words of contexts once, and explain any latent by them."""
    return partial(explain, vocabulary=Vocabulary.of(strings, first_position=first_position))


def explain_lexically(
    latents: Iterable[LatentActivations], contexts: "Contexts"
) -> list[str | None]:
    """Explain latents by the words that they are active on.

    Args:
        latents: Their activations on these contexts.

    Returns:
        A sentence for each; None for one that is never active.
    """
    count = prepare(contexts.strings, first_position=contexts.first_position)
    found = [count(latent) for latent in latents]
    return [one.text if one is not None else None for one in found]


LEXICAL = Counting(
    name="lexical",
    meaning="counts words; no language model",
    version=VERSION,
    loader=f"{__name__}:prepare",
)
