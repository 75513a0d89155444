"""Scores of simulated values against a latent's real activations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray

from interp.scoring.calibrate import fit
from interp.scoring.statistics import UNDEFINED, Estimate, by_document, estimate, estimates
from interp.vocabulary import CalibrationMethod

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


def score(
    raw: Array,
    real: NDArray[np.floating],
    documents: Sequence[Any],
    *,
    seed: int,
    intervals: bool = True,
) -> Scores:
    """Score one latent's simulation at the natural rate of its activations.

    A latent is *predicted active* where its quantile-normalised value is above zero, so as often as
    it is active. So scores of simulators with different scales can be compared. Intervals come from
    resampling documents. The calibrations are not fitted again for each resample.

    Args:
        raw: Simulated values, shape (context, position); NaN where missing.
        real: Real activations, same shape.
        documents: The document of each context.
        intervals: Without them the bounds are NaN: resampling is nearly all of the work.
        seed: Fixes the resamples, and the halves that the explained variance is cross-fitted on.
    """
    seen = ~np.isnan(raw)
    if not seen.any():
        return Scores(UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, 0, 0)
    active = real > 0
    predicted = fit(CalibrationMethod.QUANTILE, raw[seen], real[seen], maximum=1.0)(raw) > 0
    calibrated = _cross_fitted(raw, real, halves(documents, seed=seed))

    # Everything is a function of sums over tokens, so a resample needs only the documents' sums.
    # They are centred, or the sums of squares would drown small differences.
    s = np.where(seen, raw - raw[seen].mean(), 0.0).astype(np.float64)
    r = np.where(seen, real - real[seen].mean(), 0.0).astype(np.float64)
    residual = np.where(seen, real - calibrated, 0.0) ** 2
    cells = [seen & cell for cell in (active & predicted, active, ~active & ~predicted, ~active)]
    parts = [seen, s, r, s * s, r * r, s * r, residual, *cells]
    sums = by_document([part.sum(1) for part in parts], documents)
    _, number = np.unique(np.asarray(documents), return_inverse=True)
    of_token = np.broadcast_to(number[:, None], raw.shape)
    wins = _wins(raw[seen], active[seen], of_token[seen], sums.shape[1])

    def statistics(rows: Int[np.ndarray, "*resample document"]) -> Float[np.ndarray, "6 *resample"]:
        times = _times(rows)
        n, s1, r1, s2, r2, sr, rss, hits, actives, passes, silents = np.moveaxis(
            times @ sums.T, -1, 0
        )
        spread_s, spread_r = n * s2 - s1 * s1, n * r2 - r1 * r1
        real_varies = spread_r > ROUNDING * n * r2
        both_vary = real_varies & (spread_s > ROUNDING * n * s2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack(
                [
                    np.where(both_vary, (n * sr - s1 * r1) / np.sqrt(spread_s * spread_r), np.nan),
                    np.where(real_varies, 1 - n * rss / spread_r, np.nan),
                    hits / actives,
                    passes / silents,
                    np.where(actives > 0, 2 * hits / (actives + hits + silents - passes), np.nan),
                    _won(wins, times) / (actives * silents),
                ]
            )

    if intervals:
        found = estimates(statistics, sums.shape[1], seed=seed)
    else:
        once = statistics(np.arange(sums.shape[1]))
        found = [Estimate(float(value), np.nan, np.nan) for value in once]
    correlation, explained, sensitivity, specificity, f1, area = found
    return Scores(
        correlation,
        explained,
        sensitivity,
        specificity,
        f1,
        area,
        int(seen.sum()),
        int((seen & active).sum()),
    )


def halves(documents: Sequence[Any], *, seed: int) -> Bool[np.ndarray, "context"]:
    """Deal documents into two halves at random: whether each context is in the first."""
    names, number = np.unique(np.asarray(documents), return_inverse=True)
    first = np.random.default_rng(seed).permutation(len(names)) < (len(names) + 1) // 2
    return np.asarray(first[number])


def _cross_fitted(raw: Array, real: NDArray[np.floating], first: NDArray[np.bool_]) -> Array:
    """Isotonic calibration of each half by the map of the other; NaN where that has no value."""
    calibrated = np.full(raw.shape, np.nan)
    for half in (first, ~first):
        if not np.isnan(raw[~half]).all():
            fitted = fit(
                CalibrationMethod.ISOTONIC, raw[~half].ravel(), real[~half].ravel(), maximum=1.0
            )
            calibrated[half] = fitted(raw[half])
    return calibrated


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

    def statistic(rows: Int[np.ndarray, "*resample document"]) -> Array:
        times = _times(rows)
        positives, negatives = np.moveaxis(times @ counts.T, -1, 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(_won(wins, times) / (positives * negatives))

    return estimate(statistic, len(names), seed=seed)


def _times(rows: Int[np.ndarray, "*resample unit"]) -> Float[np.ndarray, "*resample unit"]:
    """The number of times that each resample has each unit."""
    units = rows.shape[-1]
    flat = rows.reshape(-1, units)
    offset = np.arange(len(flat))[:, None] * units
    return (
        np.bincount((flat + offset).ravel(), minlength=flat.size).reshape(rows.shape).astype(float)
    )


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
