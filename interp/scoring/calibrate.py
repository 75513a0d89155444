"""Turn a simulator's raw values into activations.

Every map is fitted on the calibrate set only and stored as knots: it is linear between them and
constant beyond them. Missing values (NaN) are never fitted on and stay missing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from interp.vocabulary import CalibrationMethod

TOP_DIGIT = 9
"""Simulators answer on a scale from 0 to 9."""

Array = NDArray[np.float64]


class CalibrationMap(NamedTuple):
    """A map from raw simulated values to activations."""

    x: Array
    """Raw values of the knots, ascending."""
    y: Array
    """Activation at each knot."""

    def __call__(self, raw: NDArray[np.floating]) -> Array:
        """Calibrate raw values of any shape. NaN stays NaN."""
        return np.where(np.isnan(raw), np.nan, np.interp(raw, self.x, self.y))


def fit(
    method: CalibrationMethod,
    raw: NDArray[np.floating],
    real: NDArray[np.floating],
    *,
    maximum: float,
) -> CalibrationMap:
    """Fit a calibration on pairs of raw simulated value and real activation.

    - *none*: the raw value itself is the activation, whatever the latent's range.
    - *linear*: raw / 9 × ``maximum``, the published scaling. It fits nothing.
    - *quantile*: the raw value at rank r goes to the real activation at rank r, zeros included
      (ties share their mean rank). The simulated values get the distribution of the real ones.
    - *isotonic*: the non-decreasing function with the least squared error: the expected real
      activation, given the raw value. A useless simulator shrinks to the latent's mean.

    Args:
        raw: Simulated values, shape (token,); NaN where missing.
        real: Real activations, shape (token,).
        maximum: The latent's largest activation on the explain set.

    Raises:
        ValueError: Every simulated value is missing.
    """
    seen = ~np.isnan(raw)
    if not seen.any():
        raise ValueError("every simulated value is missing, so there is nothing to calibrate on")
    raw, real = raw[seen].astype(np.float64), real[seen].astype(np.float64)
    match method:
        case CalibrationMethod.NONE:
            return CalibrationMap(np.array([0.0, TOP_DIGIT]), np.array([0.0, TOP_DIGIT]))
        case CalibrationMethod.LINEAR:
            return CalibrationMap(np.array([0.0, TOP_DIGIT]), np.array([0.0, maximum]))
        case CalibrationMethod.QUANTILE:
            x, first, counts = np.unique(np.sort(raw), return_index=True, return_counts=True)
            ranks = first + (counts - 1) / 2
            y = np.interp(ranks, np.arange(len(real)), np.sort(real))
            # Most real values are zero: within a run of equal ones the ends say all.
            inside = np.zeros(len(y), bool)
            inside[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
            return CalibrationMap(x[~inside], y[~inside])
        case CalibrationMethod.ISOTONIC:
            model = IsotonicRegression(y_min=0.0, out_of_bounds="clip").fit(raw, real)
            return CalibrationMap(
                model.X_thresholds_.astype(np.float64), model.y_thresholds_.astype(np.float64)
            )
