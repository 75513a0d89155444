"""How well simulated values predict a latent's real activations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.calibrate import Method, fit
from interp.statistics import UNDEFINED, Estimate, by_document, estimate

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Values whose squares spread by no more than this are constant: a correlation is not defined."""


class Scores(NamedTuple):
    correlation: Estimate
    """Pearson correlation of the raw simulated with the real activation."""
    sensitivity: Estimate
    """Of the tokens where the latent is active, the share where it is said to be."""
    specificity: Estimate
    """Of the tokens where the latent is silent, the share where it is said to be."""
    tokens: int
    active: int
    """Tokens on which the latent is really active."""


def score(raw: Array, real: NDArray[np.floating], documents: Sequence[Any], *, seed: int) -> Scores:
    """Score one latent's simulation at the natural rate of its activations.

    A latent is *said to be active* where its quantile-normalised value is above zero, so that it
    is said to be as often as it is: scores of simulators with different scales can be compared.
    Intervals come from resampling documents.

    Args:
        raw: Simulated values, shape (context, position); NaN where missing.
        real: Real activations, same shape.
        documents: The document of each context.
    """
    seen = ~np.isnan(raw)
    if not seen.any():
        return Scores(UNDEFINED, UNDEFINED, UNDEFINED, 0, 0)
    said = fit(Method.QUANTILE, raw[seen], real[seen], maximum=1.0)(raw) > 0
    active = real > 0

    # Everything is a ratio of sums over tokens, so a resample needs only the documents' sums.
    # They are centred, or the sums of squares would drown small differences.
    s = np.where(seen, raw - raw[seen].mean(), 0.0).astype(np.float64)
    r = np.where(seen, real - real[seen].mean(), 0.0).astype(np.float64)
    sums = by_document([part.sum(1) for part in (seen, s, r, s * s, r * r, s * r)], documents)
    cells = by_document(
        [(seen & cell).sum(1) for cell in (active & said, active, ~active & ~said, ~active)],
        documents,
    )

    def correlation(rows: NDArray[np.int64]) -> Array:
        n, s1, r1, s2, r2, sr = sums[:, rows].sum(-1)
        spread_s, spread_r = n * s2 - s1 * s1, n * r2 - r1 * r1
        varies = (spread_s > ROUNDING * n * s2) & (spread_r > ROUNDING * n * r2)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (n * sr - s1 * r1) / np.sqrt(spread_s * spread_r)
        return np.where(varies, found, np.nan)

    def share(numerator: int, denominator: int, rows: NDArray[np.int64]) -> Array:
        part, total = cells[numerator, rows].sum(-1), cells[denominator, rows].sum(-1)
        with np.errstate(invalid="ignore"):
            return np.asarray(part / total)

    units = sums.shape[1]
    return Scores(
        estimate(correlation, units, seed=seed),
        estimate(lambda rows: share(0, 1, rows), units, seed=seed),
        estimate(lambda rows: share(2, 3, rows), units, seed=seed),
        int(seen.sum()),
        int((seen & active).sum()),
    )
