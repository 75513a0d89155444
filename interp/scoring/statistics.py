"""Means, ratios and comparisons with intervals, where contexts of one document are not independent.

The unit that is resampled is the document: every figure is a function of sums over documents. See
docs/method.md for the formulas.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, permutation_test

RESAMPLES = 4_999
BATCH = 1_000
"""Resamples in memory at once."""
BOUNDS = 0.025, 0.975
"""The quantiles of the resamples that an interval ends at."""
POWER = 0.8
"""The chance of telling a difference from none that makes it a detectable one."""

Array = NDArray[np.float64]
Statistic = Callable[[Int[np.ndarray, "*resample unit"]], NDArray[np.float64]]
"""Takes the indices of the units in some resamples, which may repeat, along the last axis."""


class Estimate(NamedTuple):
    """A value and its 95% interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


UNDEFINED = Estimate(np.nan, np.nan, np.nan)


class Comparison(NamedTuple):
    """Paired differences between two conditions, in nats; NaN where a figure is not defined."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided: how often differences of these sizes, but random signs, have a mean as large."""
    detectable: float
    """The smallest mean difference that these contexts would tell from none 4 times in 5."""
    contexts_needed: float
    """How many contexts it would take to tell the observed mean difference from none so often."""


def estimate(statistic: Statistic, units: int, *, seed: int) -> Estimate:
    """A statistic of a sample with its percentile bootstrap 95% interval.

    Resamples on which the statistic is not defined (NaN), such as the correlation where nothing is
    active, do not count.

    Args:
        units: Number of independent units.
    """
    values = np.asarray(statistic(np.arange(units)))[None]
    if units < 2:
        return _estimates(values, None)[0]
    drawn = np.split(_drawn(units, seed), range(BATCH, RESAMPLES, BATCH))
    return _estimates(values, np.concatenate([statistic(rows) for rows in drawn])[None])[0]


def estimates_of_counts(
    statistics: Callable[[Float[np.ndarray, "*resample unit"]], Array], units: int, *, seed: int
) -> list[Estimate]:
    """Several statistics of a sample, on the same resamples, see :func:`estimate`.

    Args:
        statistics: Takes how often each unit is in some resamples. Gives shape
            (statistic, *resample).
    """
    values = statistics(np.ones(units))
    return _estimates(values, statistics(_counts(units, seed)) if units > 1 else None)


def _estimates(
    values: Array, resampled: Float[np.ndarray, "statistic resample"] | None
) -> list[Estimate]:
    """Values with the intervals of their resamples. None: there is nothing to resample."""
    defined = np.isfinite(values)
    bounds = np.full((len(values), 2), np.nan)
    if resampled is not None:
        whole = defined & ~np.isnan(resampled).any(1)
        bounds[whole] = np.quantile(resampled[whole], BOUNDS, axis=1).T
        for i in np.flatnonzero(defined & ~whole):
            bounds[i] = np.nanquantile(resampled[i], BOUNDS)
    return [
        Estimate(float(value), float(low), float(high)) if inside else UNDEFINED
        for value, (low, high), inside in zip(values, bounds, defined, strict=True)
    ]


def _drawn(units: int, seed: int) -> Int[np.ndarray, "resample unit"]:
    """The units of each resample."""
    return np.random.default_rng(seed).integers(0, units, (RESAMPLES, units))


@lru_cache(maxsize=8)
def _counts(units: int, seed: int) -> Float[np.ndarray, "resample unit"]:
    """The number of times that each resample has each unit."""
    flat = _drawn(units, seed) + np.arange(RESAMPLES)[:, None] * units
    counts = np.bincount(flat.ravel(), minlength=flat.size).reshape(flat.shape).astype(float)
    counts.flags.writeable = False
    return counts


def by_document(values: ArrayLike, documents: Sequence[Any]) -> Array:
    """Sums of each document.

    Args:
        values: Shape (..., context).
        documents: The document of each context.

    Returns:
        Shape (..., document).
    """
    _, number = np.unique(np.asarray(documents), return_inverse=True)
    values = np.asarray(values, dtype=np.float64)
    member = np.eye(number.max(initial=-1) + 1)[number]
    return np.asarray(values @ member)


def mean(values: ArrayLike, documents: Sequence[Any], *, seed: int) -> Estimate:
    """Mean over contexts: Σ of the documents' sums / Σ of their counts."""
    return ratio(values, np.ones(len(documents)), documents, seed=seed)


def mean_difference(
    losses: ArrayLike, baseline: ArrayLike, documents: Sequence[Any], *, seed: int
) -> Estimate:
    """Mean of the paired differences between two conditions, over contexts, in nats."""
    return mean(np.asarray(losses) - np.asarray(baseline), documents, seed=seed)


def recovered(
    losses: ArrayLike, worst: ArrayLike, best: ArrayLike, documents: Sequence[Any], *, seed: int
) -> Estimate:
    """Loss recovered: (worst − losses) / (worst − best), of the means over contexts.

    1 is as good as ``best``, such as all latents real; 0 as bad as ``worst``, such as none.

    Returns:
        NaN where ``worst`` is not clearly worse than ``best``: then there is nothing to recover.
    """
    gap = np.asarray(worst) - np.asarray(best)
    if not mean(gap, documents, seed=seed).low > 0:
        return UNDEFINED
    return ratio(np.asarray(worst) - np.asarray(losses), gap, documents, seed=seed)


def ratio(
    numerator: ArrayLike, denominator: ArrayLike, documents: Sequence[Any], *, seed: int
) -> Estimate:
    """Ratio of two means over contexts: Σ of the documents' sums / Σ of theirs."""
    sums = by_document([np.asarray(numerator), np.asarray(denominator)], documents)

    def statistic(rows: NDArray[np.int64]) -> Array:
        above, below = sums[:, rows].sum(-1)
        return np.asarray(above / below)

    return estimate(statistic, sums.shape[1], seed=seed)


def stratified_mean(
    values: ArrayLike,
    strata: Sequence[str],
    weights: Mapping[str, float],
    documents: Sequence[Any],
    *,
    seed: int,
) -> Estimate:
    """Mean over a set of contexts of which some strata were sampled more than others.

    Σ over strata of (share of the set's contexts in the stratum) × (mean of those measured in it).

    Args:
        values, strata, documents: Of each context that was measured.
        weights: Shares of the strata. They sum to 1.

    Returns:
        NaN where a stratum that has a share has no context that was measured; no interval where it
        has contexts of one document only.
    """
    names = [name for name, weight in weights.items() if weight > 0]
    inside = np.array([[stratum == name for stratum in strata] for name in names], dtype=float)
    sums = by_document(np.asarray(values) * inside, documents)
    counts = by_document(inside, documents)
    share = np.array([weights[name] for name in names])

    def statistic(rows: NDArray[np.int64]) -> Array:
        with np.errstate(invalid="ignore"):  # a resample without a stratum is undefined
            means = sums[:, rows].sum(-1) / counts[:, rows].sum(-1)
        return np.asarray(np.tensordot(share, means, axes=1))

    value = float(statistic(np.arange(sums.shape[1])))
    if ((counts > 0).sum(1) < 2).any():
        return Estimate(value, np.nan, np.nan)
    return estimate(statistic, sums.shape[1], seed=seed)


def compare(
    losses: ArrayLike, baseline: ArrayLike, documents: Sequence[Any], *, seed: int
) -> Comparison:
    """Compare two conditions, context by context.

    The test flips the signs of the documents' summed differences at random: if neither condition
    were better, either sign would be as likely.

    Args:
        losses, baseline: Loss of each context, in the same order.

    Returns:
        NaN where the loss of a context is missing.
    """
    differences = np.asarray(losses, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if not np.isfinite(differences).all():  # the test would find a p of zero
        return Comparison(*UNDEFINED, np.nan, np.nan, np.nan)
    average = mean_difference(losses, baseline, documents, seed=seed)
    sums = by_document(differences, documents)
    if len(sums) < 2:
        return Comparison(*average, np.nan, np.nan, np.nan)
    flipped = permutation_test(
        (sums,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    detectable = (norm.ppf(0.975) + norm.ppf(POWER)) * standard_error(differences, documents)
    needed = np.nan
    if average.value and detectable:
        needed = float(np.ceil(len(differences) * (detectable / average.value) ** 2))
    return Comparison(*average, float(flipped.pvalue), float(detectable), needed)


def standard_error(values: ArrayLike, documents: Sequence[Any]) -> float:
    """Standard error of the mean over contexts, robust to correlation within documents.

    √(D / (D − 1) · Σ_d (Σ_{c in d} (x_c − x̄))²) / n for n contexts in D documents.
    """
    x = np.asarray(values, dtype=np.float64)
    deviations = by_document(x - x.mean(), documents)
    count = len(deviations)
    if count < 2:
        return np.nan
    return sqrt(count / (count - 1) * float((deviations**2).sum())) / len(x)


def effective_contexts(values: ArrayLike, documents: Sequence[Any]) -> float:
    """The number of independent contexts that would be as informative: s² / SE², at most as many as
    there are.

    NaN where the values do not differ.
    """
    x = np.asarray(values, dtype=np.float64)
    error = standard_error(x, documents)
    if np.isnan(error) or error == 0:
        return np.nan
    return min(float(len(x)), float(x.var(ddof=1)) / error**2)
