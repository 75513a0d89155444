"""Scores of simulated values against a latent's real activations."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray

from interp.scoring.calibrate import Sorted
from interp.scoring.statistics import UNDEFINED, Estimate, by_document, estimates_of_counts

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Values whose squares spread by no more than this are constant: a correlation is not defined."""


class Scores(NamedTuple):
    correlation: Estimate
    """Pearson correlation of the raw simulated with the real activation."""
    explained_variance: Estimate
    """1 − Σ (real − calibrated)² / Σ (real − mean of real)², where the calibration is isotonic and
    cross-fitted: each half of the documents is calibrated by the map of the other half. Below 0
    where the latent's mean would be the better guess."""
    sensitivity: Estimate
    """Of the tokens where the latent is active, the share where it is predicted active."""
    specificity: Estimate
    """Of the tokens where the latent is silent, the share where it is predicted silent."""
    f1: Estimate
    """Harmonic mean of the sensitivity and of the share of tokens predicted active that are."""
    auroc: Estimate
    """How often the raw value of an active token is above that of a silent one; a tie is half."""
    tokens: int
    active: int
    """Tokens on which the latent is really active."""


class Contexts(NamedTuple):
    """The contexts that simulations are scored on, alike for all of a block."""

    document: Int[np.ndarray, "context"]
    """The number of each context's document."""
    documents: int
    first: Bool[np.ndarray, "context"]
    """The half of the documents that the others are cross-fitted on, see :func:`halves`."""
    seed: int

    @classmethod
    def of(cls, documents: Sequence[Any], *, seed: int) -> Self:
        """
        Args:
            documents: The document of each context.
        """
        names, number = np.unique(np.asarray(documents), return_inverse=True)
        return cls(number, len(names), halves(documents, seed=seed), seed)


class Ranked:
    """A simulation whose values are sorted once, for all that is fitted and scored of it."""

    def __init__(self, raw: Float[np.ndarray, "context position"], contexts: Contexts) -> None:
        """
        Args:
            raw: Simulated values; NaN where missing.
        """
        self._positions = raw.shape[1]
        self.contexts = contexts
        self.whole = Sorted.of(raw.ravel())
        self._document = np.repeat(contexts.document, self._positions)[self.whole.tokens]
        values = self.whole.values
        self._centred = values - values.mean() if len(values) else values

    @cached_property
    def _halves(self) -> tuple[Sorted, Sorted]:
        """The values of each half of the documents. Scores need them, calibrations do not."""
        first = np.repeat(self.contexts.first, self._positions)
        return self.whole.part(first), self.whole.part(~first)

    def figures(self, real: Float[np.ndarray, "context position"]) -> Float[np.ndarray, "6"]:
        """Correlation, explained variance, sensitivity, specificity, F1 and AUROC against a
        latent's real activations, without intervals. NaN where one is not defined."""
        if not len(self.whole.tokens):
            return np.full(6, np.nan)
        parts = self._parts(real.ravel())
        actives = parts[-3].sum()
        active = (real.ravel() > 0)[self.whole.tokens]
        ranks = np.repeat(self.whole.ranks, self.whole.counts)
        won = ranks[active].sum() - actives * (actives - 1) / 2
        return _statistics(parts.sum(1), won)

    def sums(self, real: Float[np.ndarray, "context position"]) -> "Sums":
        """What the scores and their intervals are functions of."""
        of_document = np.stack(
            [
                np.bincount(self._document, part, minlength=self.contexts.documents)
                for part in self._parts(real.ravel())
            ]
        )
        active = (real.ravel() > 0)[self.whole.tokens]
        wins = _wins(self.whole.values, active, self._document, self.contexts.documents)
        return Sums(of_document, wins)

    def _parts(self, real: Float[np.ndarray, "token"]) -> Float[np.ndarray, "11 seen"]:
        """What is summed over tokens. Values are centred, or the sums of squares would drown small
        differences."""
        own = real[self.whole.tokens].astype(np.float64)
        active = own > 0
        # Predicted active are the tokens whose rank has a real activation above zero.
        above = self.whole.starts[self.whole.ranks > (~active).sum() - 1]
        predicted = np.arange(len(own)) >= (above[0] if len(above) else len(own))
        s, r = self._centred, own - own.mean()
        residual = (own - self._cross_fitted(real)) ** 2
        cells = active & predicted, active, ~active & ~predicted, ~active
        return np.stack([np.ones(len(own)), s, r, s * s, r * r, s * r, residual, *cells])

    def _cross_fitted(self, real: Float[np.ndarray, "token"]) -> Float[np.ndarray, "seen"]:
        """Isotonic calibration of each half by the map of the other; NaN where that has no
        value."""
        calibrated = np.full(len(real), np.nan)
        for half, other in (self._halves, self._halves[::-1]):
            if len(other.tokens):
                fitted = other.isotonic(real)
                calibrated[half.tokens] = np.interp(half.values, fitted.x, fitted.y)
        return np.asarray(calibrated[self.whole.tokens])


class Sums(NamedTuple):
    """A simulation and the real activations, summed over the tokens of each document: so a resample
    of documents needs no token."""

    parts: Float[np.ndarray, "11 document"]
    wins: "_Wins"


def score(
    raw: Array,
    real: NDArray[np.floating],
    documents: Sequence[Any],
    *,
    seed: int,
) -> Scores:
    """Score one latent's simulation at the natural rate of its activations.

    A latent is *predicted active* where its quantile-normalised value is above zero, so as often as
    it is active. So scores of simulators with different scales can be compared. Intervals come from
    resampling documents. The calibrations are not fitted again for each resample.

    Args:
        raw: Simulated values, shape (context, position); NaN where missing.
        real: Real activations, same shape.
        documents: The document of each context.
        seed: Fixes the resamples, and the halves that the explained variance is cross-fitted on.
    """
    contexts = Contexts.of(documents, seed=seed)
    return score_block([Ranked(raw, contexts)], [np.asarray(real)])[0]


def score_block(
    simulations: Sequence[Ranked], real: Sequence[Float[np.ndarray, "context position"]]
) -> list[Scores]:
    """Score simulations of some latents on the same contexts, each as :func:`score` does.

    They are scored on the same resamples, which are drawn once.
    """
    there = [i for i, one in enumerate(simulations) if len(one.whole.tokens)]
    nothing = Scores(UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, 0, 0)
    found = [nothing] * len(simulations)
    if not there:
        return found
    contexts = simulations[there[0]].contexts
    sums = [simulations[i].sums(real[i]) for i in there]

    def statistics(times: Float[np.ndarray, "*resample document"]) -> Array:
        return np.concatenate(
            [
                _statistics(np.moveaxis(times @ one.parts.T, -1, 0), _won(one.wins, times))
                for one in sums
            ]
        )

    estimated = estimates_of_counts(statistics, contexts.documents, seed=contexts.seed)
    for place, (i, one) in enumerate(zip(there, sums, strict=True)):
        tokens, active = int(one.parts[0].sum()), int(one.parts[8].sum())
        correlation, explained, sensitivity, specificity, f1, area = estimated[
            6 * place : 6 * place + 6
        ]
        found[i] = Scores(
            correlation, explained, sensitivity, specificity, f1, area, tokens, active
        )
    return found


def _statistics(parts: Float[np.ndarray, "11 *resample"], won: ArrayLike) -> Array:
    """The six scores, from sums over tokens.

    Args:
        won: Over pairs of an active and a silent token, how often the active one is above.
    """
    n, s1, r1, s2, r2, sr, rss, hits, actives, passes, silents = parts
    spread_r = n * r2 - r1 * r1
    real_varies = spread_r > ROUNDING * n * r2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                pearson(n, s1, r1, s2, r2, sr),
                np.where(real_varies, 1 - n * rss / spread_r, np.nan),
                hits / actives,
                passes / silents,
                np.where(actives > 0, 2 * hits / (actives + hits + silents - passes), np.nan),
                np.asarray(won) / (actives * silents),
            ]
        )


def pearson(n: Array, s1: Array, r1: Array, s2: Array, r2: Array, sr: Array) -> Array:
    """Pearson correlation from sums over tokens: their number, the centred simulated and real
    values, their squares, and their product. NaN where one of the two does not vary."""
    spread_s, spread_r = n * s2 - s1 * s1, n * r2 - r1 * r1
    vary = (spread_r > ROUNDING * n * r2) & (spread_s > ROUNDING * n * s2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(vary, (n * sr - s1 * r1) / np.sqrt(spread_s * spread_r), np.nan)


def halves(documents: Sequence[Any], *, seed: int) -> Bool[np.ndarray, "context"]:
    """Deal documents into two halves at random: whether each context is in the first."""
    names, number = np.unique(np.asarray(documents), return_inverse=True)
    first = np.random.default_rng(seed).permutation(len(names)) < (len(names) + 1) // 2
    return np.asarray(first[number])


def auroc(
    values: ArrayLike, positive: ArrayLike, documents: Sequence[Any], *, seed: int
) -> Estimate:
    """Area under the ROC curve: how often a positive's value is above a negative's. A tie is half.

    Args:
        values, positive, documents: Of each thing that is ranked, shape (thing,).
    """
    names, number = np.unique(np.asarray(documents), return_inverse=True)
    positive = np.asarray(positive, dtype=bool)
    wins = _wins(np.asarray(values, dtype=np.float64), positive, number, len(names))
    counts = by_document([positive, ~positive], documents)

    def statistic(times: Float[np.ndarray, "*resample document"]) -> Array:
        positives, negatives = np.moveaxis(times @ counts.T, -1, 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(_won(wins, times) / (positives * negatives))[None]

    return estimates_of_counts(statistic, len(names), seed=seed)[0]


class _Wins(NamedTuple):
    """The Mann-Whitney statistic, by pairs of documents."""

    rows: Int[np.ndarray, "with_positive"]
    """The documents that have a positive."""
    wins: Float[np.ndarray, "with_positive document"]
    """Over pairs of a positive of the one and a negative of the other document, how often the
    positive is above, ties half."""


def _wins(values: Array, positive: NDArray[np.bool_], number: NDArray[Any], units: int) -> _Wins:
    rows, row = np.unique(number[positive], return_inverse=True)
    wins = np.zeros((len(rows), units))
    negatives = values[~positive]
    order = np.lexsort((negatives, number[~positive]))
    bounds = np.searchsorted(number[~positive][order], np.arange(units + 1))
    for unit in range(units):
        own = negatives[order[bounds[unit] : bounds[unit + 1]]]
        above = np.searchsorted(own, values[positive], "left")
        not_below = np.searchsorted(own, values[positive], "right")
        wins[:, unit] = np.bincount(row, (above + not_below) / 2, minlength=len(rows))
    return _Wins(rows, wins)


def _won(pairs: _Wins, times: Float[np.ndarray, "*resample unit"]) -> Array:
    """Wins in resamples that have the documents so many times."""
    return np.asarray(((times[..., pairs.rows] @ pairs.wins) * times).sum(-1))
