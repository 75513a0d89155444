"""From raw simulated values to activations."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from interp.scoring.calibrate import fit
from interp.vocabulary import CalibrationMethod

NAN = np.nan
Array = NDArray[np.float64]


def calibrated(
    method: CalibrationMethod, raw: list[float], real: list[float], *, at: list[float]
) -> Array:
    return fit(method, np.array(raw), np.array(real), maximum=max(real))(np.array(at))


def test_none_takes_the_digits_as_they_are() -> None:
    # Whatever was really there, and however strong the latent gets.
    calibration = fit(
        CalibrationMethod.NONE, np.array([1.0, 2.0]), np.array([0.0, 7.0]), maximum=12.0
    )
    digits = [float(digit) for digit in range(10)]
    assert calibration(np.array(digits)).tolist() == digits
    assert calibration(np.array([0.25, 4.5, 8.999])).tolist() == [0.25, 4.5, 8.999]
    # The scale ends at 9, and begins at 0.
    assert calibration(np.array([-1.0, 11.0])).tolist() == [0, 9]


def test_linear_is_a_ninth_of_the_maximum_a_digit() -> None:
    # 4.5 / 9 × 12 = 6. What was really there does not matter.
    calibration = fit(
        CalibrationMethod.LINEAR, np.array([1.0, 2.0]), np.array([0.0, 7.0]), maximum=12.0
    )
    assert calibration(np.array([0.0, 4.5, 3.0, 9.0])).tolist() == [0, 6, 4, 12]


def test_quantile_takes_rank_to_rank() -> None:
    # Raw 1 < 2 < 3 < 5, real 0 ≤ 0 ≤ 4 ≤ 6: pair by pair, whatever belongs to what. Halfway
    # between the knots 3 and 5 it is halfway between 4 and 6; beyond the knots it is constant.
    at = [1.0, 2.0, 3.0, 5.0, 4.0, -1.0, 9.0]
    assert calibrated(CalibrationMethod.QUANTILE, [3, 1, 5, 2], [6, 0, 0, 4], at=at).tolist() == [
        *(0, 0, 4, 6),
        *(5, 0, 6),
    ]


def test_quantile_gives_ties_the_mean_rank() -> None:
    # Raw sorted 0 0 0 2 2 9 against real sorted 0 0 0 1 3 8. The three zeros have ranks 0, 1, 2,
    # mean 1: real 0. The twos have ranks 3 and 4, mean 3.5: real (1 + 3) / 2 = 2. Nine: 8.
    found = calibrated(
        CalibrationMethod.QUANTILE, [2, 0, 9, 0, 2, 0], [3, 0, 0, 8, 0, 1], at=[0.0, 2.0, 9.0]
    )
    assert found.tolist() == [0, 2, 8]


def test_quantile_keeps_a_rare_latent_rare() -> None:
    # A simulator that says something everywhere, and a latent active on one of ten tokens.
    raw = [0.5 + i / 10 for i in range(10)]
    found = calibrated(CalibrationMethod.QUANTILE, raw, [0] * 9 + [7], at=raw)
    assert found.tolist() == [0] * 9 + [7]


def test_isotonic_pools_adjacent_violators() -> None:
    # Real by raw: 1 → 1, 2 → 3, 3 → 2, 4 → 2, 5 → 6. 3 > 2 violates: pool 2 and 3 to 2.5; 2.5 > 2
    # violates: pool with 4 to (3 + 2 + 2) / 3 = 7/3. 1 ≤ 7/3 ≤ 6 holds.
    found = calibrated(
        CalibrationMethod.ISOTONIC,
        [5, 2, 1, 4, 3],
        [6, 3, 1, 2, 2],
        at=[1.0, 2.0, 3.0, 4.0, 5.0, 4.5, 9, 0],
    )
    # Halfway between 4 and 5: (7/3 + 6) / 2 = 25/6. Beyond the ends it is constant.
    assert found == pytest.approx([1, 7 / 3, 7 / 3, 7 / 3, 6, 25 / 6, 6, 1])


def test_isotonic_takes_ties_together() -> None:
    # Raw 0 was really 0, 0 and 3 (mean 1); raw 4 was 5.
    assert calibrated(
        CalibrationMethod.ISOTONIC, [0, 0, 0, 4], [0, 3, 0, 5], at=[0.0, 4.0]
    ).tolist() == [1, 5]


def test_isotonic_shrinks_an_inverted_simulator_to_the_mean() -> None:
    # 6, 3, 0 at raw 1, 2, 3: all are pooled to 3.
    found = calibrated(CalibrationMethod.ISOTONIC, [1, 2, 3], [6, 3, 0], at=[0.0, 1.0, 2.5, 9.0])
    assert found == pytest.approx([3, 3, 3, 3])


@pytest.mark.parametrize("method", CalibrationMethod)
def test_missing_values_stay_missing_and_are_not_fitted_on(method: CalibrationMethod) -> None:
    raw, real = np.array([1.0, 2.0, 5.0]), np.array([0.0, 4.0, 3.0])
    without = fit(method, raw, real, maximum=4.0)
    holes = fit(
        method, np.array([1.0, NAN, 2.0, 5.0, NAN]), np.array([0.0, 99, 4, 3, 99]), maximum=4.0
    )
    assert holes.x.tolist() == without.x.tolist()
    assert holes.y.tolist() == without.y.tolist()
    found = holes(np.array([[NAN, 2.0], [5.0, NAN]]))
    assert np.isnan(found).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("method", CalibrationMethod)
def test_nothing_but_missing_values_cannot_be_fitted(method: CalibrationMethod) -> None:
    with pytest.raises(ValueError, match="every simulated value is missing"):
        fit(method, np.full(3, NAN), np.ones(3), maximum=1.0)


@pytest.mark.parametrize("method", CalibrationMethod)
def test_one_value_is_enough(method: CalibrationMethod) -> None:
    # None: 3. Linear: 3 / 9 × 2. The other two know only that the latent was at 2 there.
    expected = {
        CalibrationMethod.NONE: 3,
        CalibrationMethod.LINEAR: 2 / 3,
        CalibrationMethod.QUANTILE: 2,
        CalibrationMethod.ISOTONIC: 2,
    }
    assert calibrated(method, [3.0], [2.0], at=[3.0]).tolist() == pytest.approx([expected[method]])


REAL = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 100)), min_size=2, max_size=40)


@given(REAL, st.randoms())
def test_quantile_reproduces_the_real_distribution(real: list[float], shuffler: Random) -> None:
    raw = [i / 7 for i in range(len(real))]
    shuffler.shuffle(raw)
    found = calibrated(CalibrationMethod.QUANTILE, raw, real, at=raw)
    assert np.sort(found) == pytest.approx(np.sort(real))


PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(float, n, elements=st.integers(0, 18).map(lambda x: x / 2)),
        arrays(float, n, elements=st.floats(0, 50)),
    )
)


@given(PAIRS)
def test_isotonic_is_monotone_and_never_worse_than_the_mean(pairs: tuple[Array, Array]) -> None:
    raw, real = pairs
    calibration = fit(CalibrationMethod.ISOTONIC, raw, real, maximum=50.0)
    grid = calibration(np.linspace(-1, 10, 200))
    assert all(a <= b + 1e-9 for a, b in pairwise(grid))
    error = ((calibration(raw) - real) ** 2).sum()
    assert error <= ((real.mean() - real) ** 2).sum() * (1 + 1e-6) + 1e-6
    # What is said comes to what was there.
    assert calibration(raw).mean() == pytest.approx(real.mean(), rel=1e-6, abs=1e-6)


@given(
    PAIRS,
    st.sampled_from(
        [CalibrationMethod.LINEAR, CalibrationMethod.QUANTILE, CalibrationMethod.ISOTONIC]
    ),
)
def test_calibrated_values_never_leave_the_range_of_activations(
    pairs: tuple[Array, Array], method: CalibrationMethod
) -> None:
    raw, real = pairs
    found = fit(method, raw, real, maximum=real.max())(np.linspace(-3, 12, 50))
    assert found.min() >= 0
    assert found.max() <= real.max() + 1e-9
