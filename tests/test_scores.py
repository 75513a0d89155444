"""How well simulated values predict real activations, and how sure that is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from interp.scores import Scores, score
from interp.statistics import Estimate, estimate

NAN = np.nan


def score_of(raw: np.ndarray, real: np.ndarray, seed: int = 0) -> Scores:
    """Scores where every context is a document of its own."""
    return score(raw, real, range(len(raw)), seed=seed)


def test_scores_worked_by_hand() -> None:
    # Two contexts of four tokens. Ranks of raw 0 0 1 2 4 5 8 9; real sorted 0 0 0 0 0 2 4 6, so the
    # three largest raw values (5, 8, 9) are said to be active.
    raw = np.array([[0.0, 9.0, 1.0, 2.0], [5.0, 8.0, 0.0, 4.0]])
    real = np.array([[0.0, 6.0, 0.0, 0.0], [0.0, 2.0, 0.0, 4.0]])
    scores = score_of(raw, real)
    # Really active: 6, 2 and 4, at raw 9, 8 and 4. Said: two of the three.
    assert scores.sensitivity.value == pytest.approx(2 / 3)
    # Silent: five tokens; one of them (raw 5) is said to be active.
    assert scores.specificity.value == pytest.approx(4 / 5)
    # n = 8, Σs = 29, Σr = 12, Σs² = 81+1+4+25+64+16 = 191, Σr² = 36+4+16 = 56,
    # Σsr = 54+16+16 = 86; (8·86 − 29·12) / √((8·191 − 29²)(8·56 − 12²)) = 340 / √(687·304).
    assert scores.correlation.value == pytest.approx(340 / np.sqrt(687 * 304))
    assert (scores.tokens, scores.active) == (8, 3)


def test_missing_values_are_left_out_and_not_counted() -> None:
    raw = np.array([[0.0, 9.0, 1.0, 2.0], [5.0, 8.0, 0.0, 4.0]])
    real = np.array([[0.0, 6.0, 0.0, 0.0], [0.0, 2.0, 0.0, 4.0]])
    # The same values with a missing one before each context, and with missing ones where the
    # latent is really active.
    wider = np.hstack([np.full((2, 1), NAN), raw, np.full((2, 1), NAN)])
    padded = np.hstack([np.full((2, 1), 100.0), real, np.full((2, 1), 7.0)])
    assert score_of(wider, padded) == score_of(raw, real)


def test_a_perfect_simulator_is_perfect() -> None:
    rng = np.random.default_rng(0)
    real = np.maximum(rng.normal(size=(12, 30)) - 1, 0)
    scores = score_of(real.copy(), real)
    for estimated in (scores.correlation, scores.sensitivity, scores.specificity):
        assert estimated == pytest.approx(Estimate(1, 1, 1))
    assert scores.active == (real > 0).sum()
    # Any increasing scale says the same tokens.
    scaled = score_of(np.sqrt(real) + 3, real)
    assert scaled.sensitivity.value == scaled.specificity.value == 1
    assert scaled.correlation.value < 1


def test_an_inverted_simulator_is_as_wrong_as_can_be() -> None:
    real = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    scores = score_of(2 - real, real)
    assert scores.correlation.value == pytest.approx(-1)
    assert scores.sensitivity.value == 0


@pytest.mark.parametrize("constant", [0.0, 0.1, 4.5, 1e4])
def test_a_constant_simulator_has_no_correlation(constant: float) -> None:
    rng = np.random.default_rng(0)
    real = np.maximum(rng.normal(size=(10, 100)), 0)
    scores = score_of(np.full((10, 100), constant), real)
    assert scores.correlation == pytest.approx(Estimate(NAN, NAN, NAN), nan_ok=True)


def test_a_silent_latent_has_neither_sensitivity_nor_correlation() -> None:
    raw = np.random.default_rng(0).random((6, 20))
    scores = score_of(raw, np.zeros((6, 20)))
    nothing = pytest.approx(Estimate(NAN, NAN, NAN), nan_ok=True)
    assert scores.correlation == nothing
    assert scores.sensitivity == nothing
    # Nothing is said to be active either: all 120 silent tokens are right.
    assert scores.specificity == Estimate(1, 1, 1)
    assert scores.active == 0


def test_an_ever_active_latent_has_no_specificity() -> None:
    raw = np.random.default_rng(0).random((6, 20))
    assert np.isnan(score_of(raw, raw + 1).specificity.value)


def test_nothing_simulated_is_nothing_scored() -> None:
    scores = score_of(np.full((4, 5), NAN), np.ones((4, 5)))
    assert np.isnan([*scores.correlation, *scores.sensitivity, *scores.specificity]).all()
    assert (scores.tokens, scores.active) == (0, 0)


def test_one_context_has_a_score_but_no_interval() -> None:
    correlation = score_of(np.array([[0.0, 2, 4]]), np.array([[0.0, 1, 2]])).correlation
    assert correlation.value == pytest.approx(1)
    assert np.isnan([correlation.low, correlation.high]).all()


VALUES = st.floats(0, 9, allow_nan=False).map(lambda x: round(x, 3))


@settings(max_examples=25, deadline=None)
@given(arrays(float, (5, 8), elements=VALUES), arrays(float, (5, 8), elements=VALUES))
def test_the_correlation_is_scipys(
    raw: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    real: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    value = score_of(raw, real).correlation.value
    if np.ptp(raw) == 0 or np.ptp(real) == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(stats.pearsonr(raw.ravel(), real.ravel())[0], abs=1e-6)


def noisy(contexts: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(contexts)
    real = np.maximum(rng.normal(size=(contexts, 40)) - 1, 0)
    return real + rng.normal(size=real.shape), real


def test_intervals_hold_their_value_and_shrink_with_more_contexts() -> None:
    widths = []
    for contexts in (10, 160):
        scores = score_of(*noisy(contexts))
        estimates = [scores.correlation, scores.sensitivity, scores.specificity]
        assert all(e.low < e.value < e.high for e in estimates)
        widths.append([e.high - e.low for e in estimates])
    # Sixteen times the contexts should give intervals of about a quarter of the width.
    assert np.all(np.array(widths[1]) < 0.5 * np.array(widths[0]))


def test_intervals_are_reproducible_by_seed() -> None:
    raw, real = noisy(10)
    assert score_of(raw, real, seed=1) == score_of(raw, real, seed=1)
    assert score_of(raw, real, seed=1) != score_of(raw, real, seed=2)


def test_contexts_are_resampled_whole() -> None:
    # Ten contexts, each of one value 20 times over: the tokens of a context are one observation.
    # Resampled token by token, the interval of the mean would be √20 times narrower.
    values = np.repeat(np.arange(10.0)[:, None], 20, axis=1)
    found = estimate(lambda rows: values[rows].mean((-1, -2)), 10, seed=0)
    assert found.value == 4.5
    standard_error = np.arange(10).std() / np.sqrt(10)  # 2.87 / 3.16 = 0.91
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * standard_error, rel=0.1)


def test_resamples_where_a_score_is_undefined_are_left_out() -> None:
    # One of two contexts has the active token: a quarter of the resamples have none, and all the
    # others have a sensitivity of one.
    raw = np.array([[0.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    assert score_of(raw, raw).sensitivity == Estimate(1, 1, 1)
