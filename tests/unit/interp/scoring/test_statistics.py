"""Means, comparisons and intervals, where contexts of one document are not independent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interp.scoring.statistics import (
    Estimate,
    by_document,
    compare,
    effective_contexts,
    mean,
    mean_difference,
    recovered,
    standard_error,
    stratified_mean,
)

FINITE = st.floats(-5, 5).map(lambda x: round(x, 3))


def apart(contexts: int) -> list[int]:
    """Every context is a document of its own."""
    return list(range(contexts))


def test_sums_of_documents() -> None:
    # Documents in the order of their names: a has 1 and 4, b has 2.
    assert by_document([1, 2, 4], ["a", "b", "a"]).tolist() == [5, 2]
    assert by_document([[1, 2, 4], [1, 1, 1]], ["a", "b", "a"]).tolist() == [[5, 2], [2, 1]]


def test_the_mean_is_over_contexts_not_documents() -> None:
    # Three contexts of one document and one of another: (1 + 2 + 3 + 10) / 4, not (2 + 10) / 2.
    assert mean([1, 2, 3, 10], ["a", "a", "a", "b"], seed=0).value == 4


def test_mean_difference_is_paired() -> None:
    # The losses of the contexts differ a lot, the condition adds little: only the paired
    # differences 0.1, 0.2, 0.3, 0.4 (mean 0.25) count.
    baseline = np.array([1.0, 9.0, 4.0, 6.0])
    losses = baseline + np.array([0.1, 0.2, 0.3, 0.4])
    found = mean_difference(losses, baseline, apart(4), seed=0)
    assert found.value == pytest.approx(0.25)
    assert 0.1 <= found.low < 0.25 < found.high <= 0.4
    # Standard deviation √0.0125 = 0.112, over √4 contexts: 0.056, times 1.96 is 0.11.
    assert (found.high - found.low) / 2 == pytest.approx(0.11, abs=0.02)


def test_without_clusters_the_interval_is_scipys_bootstrap() -> None:
    differences = np.random.default_rng(5).random(30)
    expected = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=4_999,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    found = mean(differences, apart(30), seed=3)
    assert found == pytest.approx(
        Estimate(differences.mean(), expected.low, expected.high), abs=5e-3
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=8), st.integers(2, 5))
def test_a_document_told_several_times_tells_no_more(values: list[float], times: int) -> None:
    # Every context comes several times over, in the same document.
    documents = apart(len(values))
    once = mean(values, documents, seed=1)
    again = mean(np.repeat(values, times), np.repeat(documents, times).tolist(), seed=1)
    assert again == pytest.approx(once, abs=1e-9)
    repeated = standard_error(np.repeat(values, times), np.repeat(documents, times).tolist())
    assert repeated == pytest.approx(standard_error(values, documents), abs=1e-9)


def test_one_document_has_no_interval() -> None:
    found = mean_difference([2.0, 3.0], [1.5, 2.0], ["a", "a"], seed=0)
    assert found.value == 0.75
    assert np.isnan([found.low, found.high]).all()
    comparison = compare([2.0, 3.0], [1.5, 2.0], ["a", "a"], seed=0)
    assert comparison.mean == 0.75
    assert np.isnan(comparison[1:]).all()


def test_equal_losses_differ_by_zero_for_sure() -> None:
    losses = np.array([1.0, 2.0, 3.0])
    assert mean_difference(losses, losses, apart(3), seed=0) == Estimate(0, 0, 0)
    comparison = compare(losses, losses, apart(3), seed=0)
    assert (comparison.p, comparison.detectable) == (1, 0)
    assert np.isnan(comparison.contexts_needed)


def test_the_standard_error_by_hand() -> None:
    # Values 1, 2 in document a and 3 in b: the mean is 2, the documents' deviations sum to
    # (−1 + 0) = −1 and 1. √(2 / (2 − 1) · (1 + 1)) / 3 = 2 / 3.
    assert standard_error([1, 2, 3], ["a", "a", "b"]) == pytest.approx(2 / 3)
    # Without clusters it is the usual s / √n = 1 / √3.
    assert standard_error([1, 2, 3], apart(3)) == pytest.approx(1 / np.sqrt(3))


def test_effective_contexts_by_hand() -> None:
    # s² = 1, SE² = 4/9: two and a quarter.
    assert effective_contexts([1, 2, 3], ["a", "a", "b"]) == pytest.approx(2.25)
    # Documents whose contexts agree: s² = 4/3; deviations sum to −2 and 2; SE = √(2 · 8) / 4 = 1.
    assert effective_contexts([1, 1, 3, 3], ["a", "a", "b", "b"]) == pytest.approx(4 / 3)
    assert effective_contexts([1, 2, 3], apart(3)) == pytest.approx(3)
    # Documents whose contexts cancel out would tell more than their number: capped.
    assert effective_contexts([1, 3, 1, 3.5], ["a", "a", "b", "b"]) == 4
    assert np.isnan(effective_contexts([2, 2, 2], apart(3)))


def test_the_sign_flip_test_by_hand() -> None:
    # Sums 1, 2, 3 of three documents: of the 8 ways to flip signs, only +++ and −−− have a mean
    # as far from zero as 2: p = 2/8. SE = 1/√3; (1.96 + 0.8416) / √3 = 1.6175;
    # 3 · (1.6175 / 2)² = 1.96, so two contexts would do.
    found = compare([2, 4, 6], [1, 2, 3], apart(3), seed=0)
    assert found.mean == 2
    assert found.p == pytest.approx(0.25)
    assert found.detectable == pytest.approx(1.6175, abs=1e-3)
    assert found.contexts_needed == 2
    # In two documents (3 and 3) there are four ways, two as far from zero: p = 1/2.
    assert compare([2, 4, 6], [1, 2, 3], ["a", "a", "b"], seed=0).p == pytest.approx(0.5)


def test_the_test_is_fair_where_there_is_no_difference() -> None:
    # 20 documents of three contexts that share most of a disturbance; no difference in truth.
    # About 5 of 100 such comparisons have p < 0.05 (more than 13 has a chance of 1 in 2,000). A
    # test that took the 60 contexts for independent would find about 25.
    rng = np.random.default_rng(0)
    documents = [d for d in range(20) for _ in range(3)]
    false_alarms, naive = 0, 0
    for seed in range(100):
        differences = np.repeat(rng.normal(size=20), 3) + 0.3 * rng.normal(size=60)
        false_alarms += compare(differences, np.zeros(60), documents, seed=seed).p < 0.05
        naive += stats.ttest_1samp(differences, 0).pvalue < 0.05
    assert 1 <= false_alarms <= 13 < naive


def test_loss_recovered_by_hand() -> None:
    # Worst 3 and 5 (mean 4), best 1 and 1, the rewriting 2 and 2: (4 − 2) / (4 − 1).
    found = recovered([2, 2], [3, 5], [1, 1], apart(2), seed=0)
    assert found.value == pytest.approx(2 / 3)
    # Resamples: only the first context (3 − 2) / (3 − 1) = 1/2, only the second 3/4.
    assert (found.low, found.high) == pytest.approx((0.5, 0.75))
    assert recovered([1, 1], [3, 5], [1, 1], apart(2), seed=0).value == 1
    assert recovered([3, 5], [3, 5], [1, 1], apart(2), seed=0).value == 0


def test_where_there_is_nothing_to_recover_it_is_undefined() -> None:
    # "Worst" is better than "best" on one of two contexts.
    assert np.isnan(recovered([2, 2], [3, 1], [1, 2], apart(2), seed=0)).all()


def test_a_stratified_mean_by_hand() -> None:
    # The latent fires in a tenth of all contexts, but half of those measured: 0.1 · 2 + 0.9 · 0.
    values, strata = [1, 2, 3, 0, 0], ["fires", "fires", "fires", "silent", "silent"]
    found = stratified_mean(values, strata, {"fires": 0.1, "silent": 0.9}, apart(5), seed=0)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.3)
    # A stratum that has a share but no context that was measured leaves it undefined.
    unknown = stratified_mean([1.0], ["fires"], {"fires": 0.5, "predicted": 0.5}, ["a"], seed=0)
    assert np.isnan(unknown).all()
    # One with contexts of a single document has no interval, certain as it may look.
    alone = stratified_mean([3, 0, 0], ["fires", "silent", "silent"], {"fires": 0.1, "silent": 0.9},
                            apart(3), seed=0)  # fmt: skip
    assert alone.value == pytest.approx(0.3) and np.isnan([alone.low, alone.high]).all()
    # One without a share need not be measured.
    assert (
        stratified_mean([1.0], ["fires"], {"fires": 1.0, "predicted": 0.0}, ["a"], seed=0).value
        == 1
    )


def test_intervals_shrink_with_more_documents() -> None:
    rng = np.random.default_rng(0)

    def width(documents: int) -> float:
        found = mean(rng.normal(size=documents), apart(documents), seed=0)
        return found.high - found.low

    assert width(400) < 0.5 * width(25)


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_missing_loss_leaves_every_figure_missing(lost: float) -> None:
    losses, baseline = np.array([2.0, 3.0, lost, 2.5]), np.ones(4)
    # Nothing is told from nothing: not even that p is small.
    assert np.isnan(compare(losses, baseline, apart(4), seed=0)).all()
    assert np.isnan(compare(baseline, losses, apart(4), seed=0)).all()
    assert np.isnan(mean(losses, apart(4), seed=0)).all()
    assert np.isnan(mean(losses, ["a"] * 4, seed=0)).all()
    assert np.isnan(recovered(losses, baseline * 3, baseline, apart(4), seed=0)).all()
    weights = {"fires": 0.5, "silent": 0.5}
    strata = ["fires", "fires", "silent", "silent"]
    assert np.isnan(stratified_mean(losses, strata, weights, apart(4), seed=0)).all()
