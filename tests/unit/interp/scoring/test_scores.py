"""How well simulated values predict real activations, and how sure that is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from interp.scoring.calibrate import fit
from interp.scoring.scores import Scores, auroc, halves, score
from interp.scoring.statistics import Estimate, estimate
from interp.vocabulary import CalibrationMethod

NAN = np.nan
NAMES = ("correlation", "explained_variance", "sensitivity", "specificity", "f1", "auroc")


def score_of(raw: np.ndarray, real: np.ndarray, seed: int = 0) -> Scores:
    """Scores where every context is a document of its own."""
    return score(raw, real, range(len(raw)), seed=seed)


def test_scores_worked_by_hand() -> None:
    # Two contexts of four tokens. Ranks of raw 0 0 1 2 4 5 8 9; real sorted 0 0 0 0 0 2 4 6, so the
    # three largest raw values (5, 8, 9) are predicted active.
    raw = np.array([[0.0, 9.0, 1.0, 2.0], [5.0, 8.0, 0.0, 4.0]])
    real = np.array([[0.0, 6.0, 0.0, 0.0], [0.0, 2.0, 0.0, 4.0]])
    scores = score_of(raw, real)
    # Really active: 6, 2 and 4, at raw 9, 8 and 4. Said: two of the three.
    assert scores.sensitivity.value == pytest.approx(2 / 3)
    # Silent: five tokens; one of them (raw 5) is predicted active.
    assert scores.specificity.value == pytest.approx(4 / 5)
    # n = 8, Σs = 29, Σr = 12, Σs² = 81+1+4+25+64+16 = 191, Σr² = 36+4+16 = 56,
    # Σsr = 54+16+16 = 86; (8·86 − 29·12) / √((8·191 − 29²)(8·56 − 12²)) = 340 / √(687·304).
    assert scores.correlation.value == pytest.approx(340 / np.sqrt(687 * 304))
    # Three tokens are active, three are predicted active, two of them are both: 2·2 / (3 + 3).
    assert scores.f1.value == pytest.approx(2 / 3)
    # 9 and 8 are above all five silent tokens; 4 is above four and below one (5): 14 of 15.
    assert scores.auroc.value == pytest.approx(14 / 15)
    # Each context is calibrated by the other's map. The first's is 0→0, 1→0, 2→0, 9→6, linear
    # between. The second's is 0→0, then 4→4, 5→0, 8→2, of which the first two are out of order and
    # both get their mean: 4→2, 5→2, 8→2.
    first, second = np.array([0, 2, 0.5, 1]), np.array([3 * 6 / 7, 6 * 6 / 7, 0, 2 * 6 / 7])
    errors = ((first - real[0]) ** 2).sum() + ((second - real[1]) ** 2).sum()
    assert scores.explained_variance.value == pytest.approx(1 - errors / (56 - 12**2 / 8))
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
    for name in (*NAMES[1:], "correlation"):
        if name != "explained_variance":
            assert getattr(scores, name) == pytest.approx(Estimate(1, 1, 1))
    # The other half's map is right but for what lies between its knots.
    assert 0.95 < scores.explained_variance.low <= scores.explained_variance.high <= 1
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
    # It ranks nothing; its cross-fitted guess is the mean of the other half.
    assert scores.auroc == Estimate(0.5, 0.5, 0.5)
    assert -0.05 < scores.explained_variance.value <= 0


def test_a_silent_latent_has_neither_sensitivity_nor_correlation() -> None:
    raw = np.random.default_rng(0).random((6, 20))
    scores = score_of(raw, np.zeros((6, 20)))
    nothing = pytest.approx(Estimate(NAN, NAN, NAN), nan_ok=True)
    for name in ("correlation", "explained_variance", "sensitivity", "f1", "auroc"):
        assert getattr(scores, name) == nothing
    # Nothing is predicted active either: all 120 silent tokens are right.
    assert scores.specificity == Estimate(1, 1, 1)
    assert scores.active == 0


def test_an_ever_active_latent_has_no_specificity() -> None:
    raw = np.random.default_rng(0).random((6, 20))
    scores = score_of(raw, raw + 1)
    assert np.isnan([scores.specificity.value, scores.auroc.value]).all()


def test_nothing_simulated_is_nothing_scored() -> None:
    scores = score_of(np.full((4, 5), NAN), np.ones((4, 5)))
    assert np.isnan([getattr(scores, name) for name in NAMES]).all()
    assert (scores.tokens, scores.active) == (0, 0)


def test_one_context_has_a_score_but_no_interval() -> None:
    scores = score_of(np.array([[0.0, 2, 4]]), np.array([[0.0, 1, 2]]))
    assert scores.correlation.value == pytest.approx(1)
    assert np.isnan([scores.correlation.low, scores.correlation.high]).all()
    # There is no other half to fit a calibration on.
    assert np.isnan(scores.explained_variance.value)


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
        estimates = [getattr(scores, name) for name in NAMES]
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


def by_hand(
    raw: np.ndarray, real: np.ndarray, documents: np.ndarray, seed: int
) -> dict[str, float]:
    """The new scores by plain means: other libraries' functions, token by token."""
    first = halves(documents, seed=seed)
    guess = np.empty_like(real)
    for half in (first, ~first):
        other = IsotonicRegression(y_min=0, out_of_bounds="clip")
        other.fit(raw[~half].ravel(), real[~half].ravel())
        guess[half] = other.predict(raw[half].ravel()).reshape(raw[half].shape)
    active, flat = real.ravel() > 0, raw.ravel()
    predicted = fit(CalibrationMethod.QUANTILE, flat, real.ravel(), maximum=1.0)(flat) > 0
    return {
        "explained_variance": r2_score(real.ravel(), guess.ravel()),
        "f1": f1_score(active, predicted),
        "auroc": roc_auc_score(active, flat),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_scores_are_those_of_plain_computations(seed: int, documents: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole digits: many ties. Some documents have nothing active.
    raw = rng.integers(0, 10, (12, 8)).astype(float)
    of = np.arange(12) % documents
    real = np.maximum(raw + rng.normal(size=raw.shape) * 4 - 8, 0) * (of > 0)[:, None]
    if not 0 < (real > 0).sum() < real.size:
        return
    scores = score(raw, real, of, seed=seed)
    for name, expected in by_hand(raw, real, of, seed).items():
        assert getattr(scores, name).value == pytest.approx(expected)
    area = auroc(raw.ravel(), real.ravel() > 0, np.repeat(of, 8), seed=seed)
    assert area == pytest.approx(scores.auroc, nan_ok=True)


def test_the_interval_of_the_auroc_comes_from_resampled_documents() -> None:
    rng = np.random.default_rng(3)
    raw, real = noisy(12)
    documents = np.repeat(np.arange(6), 2)
    areas = []
    for _ in range(500):
        rows = np.concatenate([np.flatnonzero(documents == d) for d in rng.integers(0, 6, 6)])
        active = real[rows] > 0
        above = (raw[rows][active][:, None] > raw[rows][~active]).mean()
        areas.append(above)
    found = score(raw, real, documents, seed=0).auroc
    low, high = np.quantile(areas, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.015)
    assert found.high == pytest.approx(high, abs=0.015)


def test_the_explained_variance_of_noise_is_not_above_zero() -> None:
    # An isotonic map fitted and measured on the same tokens explains some of any noise. With few
    # active tokens it is a good deal; cross-fitted it is none.
    rng = np.random.default_rng(0)
    honest, optimistic = [], []
    for _ in range(40):
        raw = rng.random((20, 30))
        real = np.where(rng.random(raw.shape) < 0.01, rng.random(raw.shape), 0)
        honest.append(score_of(raw, real).explained_variance.value)
        fitted = IsotonicRegression().fit_transform(raw.ravel(), real.ravel())
        optimistic.append(r2_score(real.ravel(), fitted))
    assert np.nanmean(honest) < 0 < 0.005 < np.mean(optimistic)


def test_documents_are_halved_whole() -> None:
    documents = [f"d{i % 7}" for i in range(40)]
    first = halves(documents, seed=1)
    inside = {
        name: {bool(f) for f, d in zip(first, documents, strict=True) if d == name}
        for name in set(documents)
    }
    assert all(len(sides) == 1 for sides in inside.values())
    assert sum(sides == {True} for sides in inside.values()) == 4
    assert (halves(documents, seed=1) == first).all()
    assert any((halves(documents, seed=s) != first).any() for s in range(2, 6))
