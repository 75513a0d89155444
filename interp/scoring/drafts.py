"""The scores of a draft: those of :func:`interp.scoring.scores.score` that cost milliseconds.

No interval of a score, which takes nearly all of its time. The change of the correlation from one
text to another has one: both are measured on the same tokens, so a small change can be sure.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from interp.scoring.calibrate import fit
from interp.scoring.scores import pearson
from interp.scoring.statistics import UNDEFINED, Estimate, by_document
from interp.vocabulary import CalibrationMethod

RESAMPLES = 999
"""Of documents, for the interval of a change."""

Values = Float[np.ndarray, "context position"]


class Quick(NamedTuple):
    """The scores of a draft. NaN where not defined."""

    correlation: float
    sensitivity: float
    specificity: float


def quick_scores(raw: Values, real: Values) -> Quick:
    """Correlation, sensitivity and specificity, as :func:`interp.scoring.scores.score` has them.

    Args:
        raw: Simulated values; NaN where missing.
        real: Real activations.
    """
    seen = ~np.isnan(raw)
    if not seen.any():
        return Quick(np.nan, np.nan, np.nan)
    s, r = raw[seen].astype(np.float64), real[seen].astype(np.float64)
    predicted = fit(CalibrationMethod.QUANTILE, s, r, maximum=1.0)(s) > 0
    active = r > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return Quick(
            correlation(raw, real),
            float(np.divide((active & predicted).sum(), active.sum())),
            float(np.divide((~active & ~predicted).sum(), (~active).sum())),
        )


def correlation(raw: Values, real: Values) -> float:
    """Pearson correlation over the tokens that have a value. NaN where not defined."""
    return float(pearson(*_sums(raw, real).sum(1)))


def correlation_change(
    before: Values, after: Values, real: Values, documents: Sequence[Any], *, seed: int
) -> Estimate:
    """The correlation of one simulation minus that of another, with a 95% interval.

    Documents are resampled, both at once, and the interval has the percentiles of the difference.
    Tokens count where both have a value.

    Args:
        before, after: Simulated values; NaN where missing.
        documents: The document of each context.
        seed: Fixes the resamples.
    """
    both = ~np.isnan(before) & ~np.isnan(after)
    sums = [
        by_document(_sums(np.where(both, raw, np.nan), real), documents) for raw in (before, after)
    ]
    units = sums[0].shape[1]
    first, second = (pearson(*one.sum(1)) for one in sums)
    value = float(second - first)
    if np.isnan(value):
        return UNDEFINED
    if units < 2:
        return Estimate(value, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(units, np.full(units, 1 / units), size=RESAMPLES).T.astype(float)
    changes = pearson(*sums[1] @ times) - pearson(*sums[0] @ times)
    low, high = np.nanquantile(changes, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _sums(raw: Values, real: Values) -> Float[np.ndarray, "6 context"]:
    """The sums over tokens that a correlation is a function of, for each context.

    Values are centred, or the sums of squares would drown small differences.
    """
    seen = ~np.isnan(raw)
    s = np.where(seen, raw - (raw[seen].mean() if seen.any() else 0), 0.0).astype(np.float64)
    r = np.where(seen, real - (real[seen].mean() if seen.any() else 0), 0.0).astype(np.float64)
    return np.stack([part.sum(1) for part in (seen, s, r, s * s, r * r, s * r)]).astype(np.float64)
