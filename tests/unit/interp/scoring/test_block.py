"""Many simulations scored at once: each as if it were alone, by other libraries' functions."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.isotonic import IsotonicRegression

from interp.scoring.calibrate import Sorted, fit, fit_sorted
from interp.scoring.scores import Contexts, Ranked, score, score_block
from interp.scoring.statistics import RESAMPLES, estimates_of_counts
from interp.vocabulary import CalibrationMethod

NAN = np.nan


class Case(NamedTuple):
    """Simulations of some latents on the same contexts."""

    raw: list[np.ndarray]
    real: list[np.ndarray]
    documents: list[int]


KINDS = ("apart", "ties", "missing", "dead", "constant", "nothing")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Values that lie apart, ties, missing ones, latents that never fire, one document or more."""
    contexts, positions = draw(st.integers(1, 10)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    raw, real = [], []
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)):
        values = rng.random((contexts, positions)) * 9
        active = np.maximum(rng.normal(size=values.shape) - 2 + values / 4, 0)
        match kind:
            case "ties":
                values = values.round()
            case "missing":
                values[rng.random(values.shape) < 0.3] = NAN
            case "dead":
                active[:] = 0
            case "constant":
                values[:] = 3
            case "nothing":
                values[:] = NAN
        raw.append(values)
        real.append(active)
    return Case(raw, real, rng.integers(0, draw(st.integers(1, 5)), contexts).tolist())


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 3))
def test_a_block_is_scored_as_each_alone(case: Case, seed: int) -> None:
    contexts = Contexts.of(case.documents, seed=seed)
    ranked = [Ranked(raw, contexts) for raw in case.raw]
    together = score_block(ranked, case.real)
    for one, raw, real, found in zip(ranked, case.raw, case.real, together, strict=True):
        alone = score(raw, real, case.documents, seed=seed)
        np.testing.assert_allclose(np.hstack(found), np.hstack(alone), rtol=1e-9)
        # Without intervals it is the same figures, by a shorter way.
        np.testing.assert_allclose(
            one.figures(real), [estimate.value for estimate in alone[:6]], rtol=1e-7, atol=1e-9
        )
        for method in CalibrationMethod if one.whole.tokens.size else ():
            own = fit(method, raw.ravel(), real.ravel(), maximum=2.0)
            of_block = fit_sorted(method, one.whole, real.ravel(), maximum=2.0)
            np.testing.assert_array_equal(own.x, of_block.x)
            np.testing.assert_array_equal(own.y, of_block.y)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_isotonic_map_is_scikit_learns(case: Case) -> None:
    at = np.linspace(-1, 10, 50)
    for raw, real in zip(case.raw, case.real, strict=True):
        seen = ~np.isnan(raw)
        if seen.any():
            model = IsotonicRegression(y_min=0.0, out_of_bounds="clip").fit(raw[seen], real[seen])
            fitted = Sorted.of(raw.ravel()).isotonic(real.ravel())
            np.testing.assert_allclose(fitted(at), model.predict(at), atol=1e-9)


@pytest.mark.parametrize("units", [2, 7, 40])
def test_intervals_are_scipys(units: int) -> None:
    values = np.random.default_rng(units).normal(size=units)
    (found,) = estimates_of_counts(lambda counts: (counts @ values / units)[None], units, seed=3)
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1000,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert found == pytest.approx((values.mean(), interval.low, interval.high))


def test_values_of_some_tokens_need_no_other_sorting() -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 5, 60).astype(float)
    some = rng.random(60) < 0.5
    part, alone = Sorted.of(raw).part(some), Sorted.of(np.where(some, raw, NAN))
    assert part.values.tolist() == alone.values.tolist()
    assert part.starts.tolist() == alone.starts.tolist()
    assert set(part.tokens) == set(np.flatnonzero(some))
