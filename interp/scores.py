"""How well simulated values predict a latent's real activations."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.calibrate import Method, fit
from interp.statistics import Estimate, estimate

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


def score(raw: Array, real: NDArray[np.floating], *, seed: int) -> Scores:
    """Score one latent's simulation at the natural rate of its activations.

    A latent is *said to be active* where its quantile-normalised value is above zero, so that it
    is said to be as often as it is: scores of simulators with different scales can be compared.
    Intervals come from resampling contexts.

    Args:
        raw: Simulated values, shape (context, position); NaN where missing.
        real: Real activations, same shape.
    """
    seen = ~np.isnan(raw)
    if not seen.any():
        nothing = Estimate(np.nan, np.nan, np.nan)
        return Scores(nothing, nothing, nothing, 0, 0)
    said = fit(Method.QUANTILE, raw[seen], real[seen], maximum=1.0)(raw) > 0
    active = real > 0

    # Everything is a ratio of sums over tokens, so a resample of contexts needs only the sums.
    # They are centred, or the sums of squares would drown small differences.
    s = np.where(seen, raw - raw[seen].mean(), 0.0).astype(np.float64)
    r = np.where(seen, real - real[seen].mean(), 0.0).astype(np.float64)
    sums = np.stack([part.sum(1) for part in (seen, s, r, s * s, r * r, s * r)])
    cells = np.stack(
        [(seen & cell).sum(1) for cell in (active & said, active, ~active & ~said, ~active)]
    ).astype(np.float64)

    def correlation(rows: NDArray[np.int64]) -> float:
        n, s1, r1, s2, r2, sr = sums[:, rows].sum(1)
        spread_s, spread_r = n * s2 - s1 * s1, n * r2 - r1 * r1
        if spread_s <= ROUNDING * n * s2 or spread_r <= ROUNDING * n * r2:
            return np.nan
        return float((n * sr - s1 * r1) / np.sqrt(spread_s * spread_r))

    def share(numerator: int, denominator: int, rows: NDArray[np.int64]) -> float:
        total = cells[denominator, rows].sum()
        return float(cells[numerator, rows].sum() / total) if total else np.nan

    contexts = len(raw)
    return Scores(
        estimate(correlation, contexts, seed=seed),
        estimate(lambda rows: share(0, 1, rows), contexts, seed=seed),
        estimate(lambda rows: share(2, 3, rows), contexts, seed=seed),
        int(seen.sum()),
        int((seen & active).sum()),
    )
