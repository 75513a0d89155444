"""A coder of batch top-k without a threshold gets the one that its training stands for."""

from dataclasses import replace

import pytest
import torch

from interp.coders import thresholds
from interp.coders.check import check_coder, measure_fit
from interp.coders.inspection import capture_sites, inspect
from interp.coders.linear import LinearCoder
from interp.coders.readings import readings
from interp.coders.rules import BatchTopK, Threshold, TopK
from interp.coders.thresholds import settled, with_threshold
from interp.sources.sites import find_site
from tests.engine import D_MODEL, linear_coder, random_coder, random_tokens, tiny_subject

X = torch.randn(300, D_MODEL, generator=torch.Generator().manual_seed(1))


def plain(rule: BatchTopK, rows: list[list[float]]) -> tuple[LinearCoder, torch.Tensor]:
    """A coder whose activations are the vectors themselves, and some vectors."""
    width = len(rows[0])
    bias = torch.zeros(width)
    return LinearCoder("sae", torch.eye(width), bias, torch.eye(width), bias, rule), torch.tensor(
        rows
    )


def test_a_threshold_worked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # k = 1, batches of two tokens: 9 and 7 are kept of the first, so 7 is the smallest; of the
    # second one 4 and 3, so 3.
    coder, x = plain(BatchTopK(1), [[9, 7, 1], [2, 5, -8], [4, 0, 0], [3, 1, -1]])
    monkeypatch.setattr(thresholds, "ENCODED_AT_ONCE", 2)
    rule = settled(coder, [x]).rule
    assert isinstance(rule, Threshold)
    assert rule.estimated == 5 and rule.trained == TopK(1)
    assert torch.equal(rule.thresholds, torch.full((3,), 5.0))
    # A batch of one token counts half as much: (2 · 7 + 1 · 2) / 3.
    parts = [x[:2], torch.tensor([[0.0, 2, 0]])]
    assert settled(coder, parts).rule.estimated == pytest.approx(16 / 3)


def test_lengths_of_directions_count_where_they_rank() -> None:
    weights = torch.tensor([1.0, 4, 1])
    coder, x = plain(BatchTopK(1, weights), [[6, 2, 1], [3, 0, 1]])
    # Ranked: 6 and 8 are the two largest of all, so 6 is the smallest that is kept.
    rule = settled(coder, [x]).rule
    assert rule.estimated == 6
    torch.testing.assert_close(rule.thresholds, torch.tensor([6.0, 1.5, 6.0]))


def test_fewer_positive_activations_than_places() -> None:
    coder, x = plain(BatchTopK(2), [[1, 0, -1], [0, -3, 2]])
    assert settled(coder, [x]).rule.estimated == 1
    assert settled(coder, [-x.abs()]).rule.estimated == 0


def test_as_many_are_active_as_in_training() -> None:
    coder = linear_coder(BatchTopK(3))
    rule = settled(coder, [X]).rule
    found = replace(coder, rule=rule).encode(X).activations > 0
    # All but the one that the threshold is.
    assert int(found.sum()) == 3 * len(X) - 1
    assert len(found.sum(1).unique()) > 2, "some tokens have more, others fewer"


def test_other_coders_stay_as_they_are() -> None:
    def unread() -> object:
        raise AssertionError("nothing need be read")
        yield

    for coder in (random_coder(), linear_coder(TopK(3)), linear_coder(Threshold(torch.ones(12)))):
        assert settled(coder, unread()) is coder
        assert with_threshold(coder, 1.0) is coder


def test_the_k_largest_of_each_token_stay_a_reading() -> None:
    coder = linear_coder(BatchTopK(3))
    for one in (coder, settled(coder, [X])):
        other = readings(one)["the 3 largest are active"]
        assert other.rule == TopK(3)


def test_it_is_estimated_wherever_the_coder_is_measured() -> None:
    subject, tokens = tiny_subject(hookpoint="layers.1"), random_tokens(24, 24)
    modules = [name for name, _ in subject.model.base_model.named_modules() if name]
    sites = [find_site(f"layers.{layer}", modules) for layer in (1, 0)]
    captured = capture_sites(subject.model, tokens, sites, first_position=1).sites
    x = captured[sites[0]]
    centre, basis = x.mean(0), torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh
    directions = torch.cat([basis, -basis])
    coder = LinearCoder(
        "sae", directions, -directions @ centre, directions, centre, BatchTopK(8), centre=None
    )
    checked = check_coder(coder, subject, tokens, first_position=1, active=8)
    fit = measure_fit(coder, subject, tokens, first_position=1)
    assert fit.active == pytest.approx(8, abs=0.1) and fit.fvu < 0.5
    assert checked.fvu == pytest.approx(fit.fvu, rel=1e-4) and checked.active == fit.active
    assert fit.coder.rule.estimated > 0

    pairs = [(one, one) for one in sites]
    declared, other = inspect(subject.model, {"": coder}, pairs, tokens, first_position=1)
    assert declared.fvu == pytest.approx(fit.fvu, rel=1e-4) and declared.active == fit.active
    # At the other site another threshold is estimated.
    assert other.active == pytest.approx(8, abs=0.1)
    fixed = replace(coder, rule=fit.coder.rule)
    _, with_the_same = inspect(subject.model, {"": fixed}, pairs, tokens, first_position=1)
    assert with_the_same.active != pytest.approx(8, abs=0.5)
