"""The quick scores of a draft are those of a saved explanation."""

import numpy as np
import pytest

from interp.scoring.drafts import correlation_change, quick_scores
from interp.scoring.scores import score

CONTEXTS, SEQ = 40, 16
DOCUMENTS = [f"d{i // 3}" for i in range(CONTEXTS)]


def simulated(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    real = np.where(rng.random((CONTEXTS, SEQ)) < 0.1, rng.gamma(2.0, size=(CONTEXTS, SEQ)), 0.0)
    raw = np.clip(real + noise * rng.random((CONTEXTS, SEQ)), 0, 9)
    return raw, real


@pytest.mark.parametrize("missing", [0, 30])
def test_quick_scores_are_the_scores(missing: int) -> None:
    raw, real = simulated(0, 2.0)
    raw.ravel()[np.random.default_rng(1).permutation(raw.size)[:missing]] = np.nan
    quick = quick_scores(raw, real)
    slow = score(raw, real, DOCUMENTS, seed=0)
    for name, value in quick._asdict().items():
        assert value == pytest.approx(getattr(slow, name).value), name


def test_scores_that_are_not_defined_are_missing() -> None:
    raw, real = simulated(0, 1.0)
    nothing = np.full_like(raw, np.nan)
    assert all(np.isnan(quick_scores(nothing, real)))
    silent = quick_scores(raw, np.zeros_like(real))
    assert np.isnan(silent.correlation) and np.isnan(silent.sensitivity)
    assert silent.specificity == 1.0
    assert np.isnan(correlation_change(raw, nothing, real, DOCUMENTS, seed=0).value)


def test_a_change_is_paired() -> None:
    raw, real = simulated(0, 3.0)
    better, _ = simulated(0, 1.0)
    change = correlation_change(raw, better, real, DOCUMENTS, seed=0)
    first, second = (quick_scores(one, real).correlation for one in (raw, better))
    assert change.value == pytest.approx(second - first)
    assert 0 < change.low < change.value < change.high
    same = correlation_change(raw, raw, real, DOCUMENTS, seed=0)
    assert same == (0, 0, 0)
    # Both have the same noise of documents, which an interval of each alone would count twice.
    slow = [score(one, real, DOCUMENTS, seed=0).correlation for one in (raw, better)]
    assert change.high - change.low < sum(one.high - one.low for one in slow)
    again = correlation_change(raw, better, real, DOCUMENTS, seed=0)
    assert again == change
