"""Turn a simulator's raw values into activations.

Every map is fitted on the calibrate set only and stored as knots: it is linear between them and
constant beyond them. Missing values (NaN) are never fitted on and stay missing.
"""

from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

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


class Sorted(NamedTuple):
    """Raw values in ascending order. One sorting serves all that is fitted on them, whatever the
    real activations."""

    tokens: Int[np.ndarray, "seen"]
    """The tokens that have a value."""
    values: Float[np.ndarray, "seen"]
    starts: Int[np.ndarray, "knot"]
    """Where each value begins that differs from the one before it."""

    @classmethod
    def of(cls, raw: Float[np.ndarray, "token"]) -> Self:
        """Sort raw values. NaN is left out."""
        seen = np.flatnonzero(~np.isnan(raw))
        values = raw[seen].astype(np.float64)
        order = np.argsort(values)
        return cls._of(seen[order], values[order])

    @classmethod
    def _of(cls, tokens: Int[np.ndarray, "seen"], values: Float[np.ndarray, "seen"]) -> Self:
        new = np.ones(len(values), bool)
        new[1:] = values[1:] != values[:-1]
        return cls(tokens, values, np.flatnonzero(new))

    def part(self, of: Bool[np.ndarray, "token"]) -> Self:
        """The values of some of the tokens."""
        inside = of[self.tokens]
        return self._of(self.tokens[inside], self.values[inside])

    @property
    def x(self) -> Float[np.ndarray, "knot"]:
        """Each value once."""
        return np.asarray(self.values[self.starts])

    @property
    def counts(self) -> Int[np.ndarray, "knot"]:
        """How often it occurs."""
        ends = np.append(self.starts[1:], len(self.values))
        return np.asarray(ends - self.starts)

    @property
    def ranks(self) -> Float[np.ndarray, "knot"]:
        """Its rank from 0. Ties share their mean rank."""
        return self.starts + (self.counts - 1) / 2

    def quantile(self, real: Float[np.ndarray, "token"]) -> CalibrationMap:
        """The quantile map to real activations, see :func:`fit`."""
        y = np.interp(self.ranks, np.arange(len(self.tokens)), np.sort(real[self.tokens]))
        return _bends(self.x, y)

    def isotonic(self, real: Float[np.ndarray, "token"]) -> CalibrationMap:
        """The isotonic map to real activations, see :func:`fit`."""
        counts = self.counts
        means = np.add.reduceat(real[self.tokens].astype(np.float64), self.starts) / counts
        y = isotonic_regression(means, weights=counts).x
        return _bends(self.x, np.maximum(y, 0.0))


def _bends(x: Array, y: Array) -> CalibrationMap:
    """The map through some points. Within a run of equal activations, the ends say all."""
    inside = np.zeros(len(y), bool)
    inside[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return CalibrationMap(x[~inside], y[~inside])


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
        raw: Simulated values of tokens, of any shape; NaN where missing.
        real: Real activations, same shape.
        maximum: The latent's largest activation on the explain set.

    Raises:
        ValueError: Every simulated value is missing.
    """
    ordered = Sorted.of(raw.ravel())
    if not len(ordered.tokens):
        raise ValueError("every simulated value is missing, so there is nothing to calibrate on")
    return fit_sorted(method, ordered, real.ravel(), maximum=maximum)


def fit_sorted(
    method: CalibrationMethod,
    raw: Sorted,
    real: NDArray[np.floating],
    *,
    maximum: float,
) -> CalibrationMap:
    """Fit a calibration as :func:`fit`, on raw values that are sorted already, at least one."""
    match method:
        case CalibrationMethod.NONE:
            return CalibrationMap(np.array([0.0, TOP_DIGIT]), np.array([0.0, TOP_DIGIT]))
        case CalibrationMethod.LINEAR:
            return CalibrationMap(np.array([0.0, TOP_DIGIT]), np.array([0.0, maximum]))
        case CalibrationMethod.QUANTILE:
            return raw.quantile(real)
        case CalibrationMethod.ISOTONIC:
            return raw.isotonic(real)
