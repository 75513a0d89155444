"""Means and scores with bootstrap intervals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

RESAMPLES = 1000


class Estimate(NamedTuple):
    """A value and its 95% interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def estimate(statistic: Callable[[NDArray[np.int64]], float], units: int, *, seed: int) -> Estimate:
    """A statistic of a sample with its percentile bootstrap 95% interval.

    Args:
        statistic: Takes the indices of the units in a resample, which may repeat.
        units: How many independent units there are. For token-level figures the unit is the
            context: tokens of one context are not independent.
    """
    value = statistic(np.arange(units))
    if units < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan)
    result = bootstrap(
        (np.arange(units),),
        lambda indices: statistic(indices),
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    samples = result.bootstrap_distribution
    # A resample without a single active token has no correlation; the interval is over the rest.
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def mean_difference(
    losses: NDArray[np.floating], baseline: NDArray[np.floating], *, seed: int
) -> Estimate:
    """Mean of the paired differences between two conditions, over contexts.

    Args:
        losses, baseline: Loss of each context, shape (context,), in the same order.
    """
    differences = losses - baseline
    if len(differences) < 2:
        return Estimate(float(differences.mean()), np.nan, np.nan)
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=10 * RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Estimate(float(differences.mean()), *map(float, result.confidence_interval))
