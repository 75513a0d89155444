"""The error budget: by hand, and as a whole."""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.corpus.activations import LatentActivations
from interp.rewriting.attribution import Attributed, attribute, errors
from interp.rewriting.budget import FIRING_RATES, Entry, bands, budget, kind_of, kinds
from interp.rewriting.splice import Values
from interp.vocabulary import BudgetSplit, LatentKind, Linearisation, PredictionError, Protocol
from tests.engine import CODERS, random_tokens, tiny_subject
from tests.unit.interp.rewriting.test_attribution import real_activations, simulated
from tests.unit.interp.rewriting.test_evaluate_by_hand import AB, HAND_CODER, hand_model

MISSED, FALSE_POSITIVE, WRONG_SIZE, BACKGROUND = PredictionError

# --- Errors, by hand ------------------------------------------------------------------------------

# The model and the coder of test_evaluate_by_hand.py, with both latents simulated: latent 0 as 2 on
# A (really 3) and 4 on B (really 0), latent 1 as 0 on both (really 0 on A and 3 on B). A unit of
# latent 0 adds 1 to the gap g, a unit of latent 1 takes 1 away. The slopes of the loss in g are
# −ln 2 / (1 + 2^g) on A and ln 2 / (1 + 2^−g) on B. With all latents real g is 3 on A and −1 on B,
# rewritten 2 and 6. The path has the mean slopes: on A −(1/9 + 1/5) / 2 ln 2, on B
# (1/3 + 64/65) / 2 ln 2. A context has one A and one B, and its loss is the mean of both.
#
#   latent 0, A   from 3 to 2, the gap falls by 1     wrong size if predicted active, else missed
#   latent 0, B   from 0 to 4, the gap grows by 4     false positive if so, else background
#   latent 1, B   from 3 to 0, the gap grows by 3     missed
ON_A, ON_B = -(1 / 9 + 1 / 5) / 2 * log(2) / 2, (1 / 3 + 64 / 65) / 2 * log(2) / 2
VALUES = torch.tensor([[2.0, 0.0], [4.0, 0.0]])[AB[:, :2]]


def by_hand(predicted: list[list[float]]) -> Attributed:
    """Args:
    predicted: For A and for B, the values that predict where each latent is active.
    """
    latents = torch.tensor([0, 1])
    return attribute(
        hand_model(),
        HAND_CODER,
        AB,
        Values.of(latents, VALUES),
        protocol=Protocol.WHOLE,
        first_position=0,
        predicted=Values.of(latents, torch.tensor(predicted)[AB[:, :2]]),
    )


def test_errors_are_those_worked_out_by_hand() -> None:
    found = by_hand([[1.0, 0.0], [1.0, 0.0]]).errors
    assert found[WRONG_SIZE] == pytest.approx(np.array([[-1 * ON_A, 0.0]] * 2), rel=1e-5)
    assert found[FALSE_POSITIVE] == pytest.approx(np.array([[4 * ON_B, 0.0]] * 2), rel=1e-5)
    assert found[MISSED] == pytest.approx(np.array([[0.0, 3 * ON_B]] * 2), rel=1e-5)
    assert not found[BACKGROUND].any()


def test_a_prediction_that_is_silent_is_missed_or_background() -> None:
    found = by_hand([[0.0, 0.0], [0.0, 0.0]]).errors
    expected = np.array([[-1 * ON_A, 3 * ON_B]] * 2)
    assert found[MISSED] == pytest.approx(expected, rel=1e-5)
    assert found[BACKGROUND] == pytest.approx(np.array([[4 * ON_B, 0.0]] * 2), rel=1e-5)
    assert not found[FALSE_POSITIVE].any() and not found[WRONG_SIZE].any()


def test_nothing_is_split_without_predictions() -> None:
    assert by_hand([[1.0, 0.0], [1.0, 0.0]]).errors
    values = Values.of(torch.tensor([0, 1]), VALUES)
    run = {"protocol": Protocol.WHOLE, "first_position": 0}
    assert attribute(hand_model(), HAND_CODER, AB, values, **run).errors == {}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_each_position_has_exactly_one_error(pairs: list[tuple[bool, bool]]) -> None:
    active, predicted = torch.tensor(pairs).T
    assert (sum(where.int() for where in errors(active, predicted).values()) == 1).all()


@pytest.mark.parametrize("kind", CODERS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_errors_of_a_latent_add_up_to_its_effect_along_the_path(kind: str, seed: int) -> None:
    coder = CODERS[kind]
    given_ = simulated(coder, Protocol.WHOLE, seed)
    given_[..., 4] = torch.nan
    generator = torch.Generator().manual_seed(seed)
    said = torch.rand(real_activations(coder).shape, generator=generator) - 0.5
    latents = torch.arange(coder.num_latents)
    found = attribute(
        tiny_subject(),
        coder,
        random_tokens(5, 7),
        Values.of(latents, given_),
        protocol=Protocol.WHOLE,
        first_position=1,
        predicted=Values.of(latents, said),
    )
    path = found.effects[Linearisation.PATH]
    np.testing.assert_allclose(sum(found.errors.values()), path, atol=1e-6)
    assert np.abs(path).max() > 1e-3 and not path[:, 4].any()


# --- Sums -----------------------------------------------------------------------------------------

# Two documents of two contexts, and three latents.
DOCUMENTS = ["a", "a", "b", "b"]
EFFECTS = {
    MISSED: np.array([[1.0, 0, 0]] * 4),
    FALSE_POSITIVE: np.array([[0.0, 2, 0], [0, 2, 0], [0, 4, 0], [0, 4, 0]]),
    WRONG_SIZE: np.array([[0.0, 0, -1]] * 4),
    BACKGROUND: np.zeros((4, 3)),
}
GROUPS = {BudgetSplit.FIRING_RATE: bands(np.array([0.00005, 0.5, np.nan]), FIRING_RATES)}


def entry(found: list[Entry], split: BudgetSplit, group: str, error: object) -> Entry:
    (one,) = [e for e in found if (e.split, e.group, e.error) == (split, group, error)]
    return one


def test_parts_and_shares_are_those_worked_out_by_hand() -> None:
    found = budget(EFFECTS, GROUPS, DOCUMENTS, seed=0)
    assert len(found) == (1 + 3) * 5
    whole = found[0]
    # 1 + 2 − 1 = 2 on both contexts of a, 1 + 4 − 1 = 4 on those of b: 3 in the mean.
    assert whole.effects.tolist() == [2, 2, 4, 4] and whole.latents == 3
    assert tuple(whole.increase) == pytest.approx((3, 2, 4))
    assert tuple(whole.share) == pytest.approx((1, 1, 1))
    positives = entry(found, BudgetSplit.LAYER, "", FALSE_POSITIVE)
    assert tuple(positives.increase) == pytest.approx((3, 2, 4))
    missed = entry(found, BudgetSplit.LAYER, "", MISSED)
    # 1 of 3 nats; of documents b alone it is 1 of 4, of a alone 1 of 2.
    assert tuple(missed.share) == pytest.approx((1 / 3, 1 / 4, 1 / 2))
    assert entry(found, BudgetSplit.LAYER, "", WRONG_SIZE).share.value == pytest.approx(-1 / 3)
    rare = entry(found, BudgetSplit.FIRING_RATE, "below 0.01%", None)
    assert (rare.latents, rare.increase.value) == (1, 1)
    assert entry(found, BudgetSplit.FIRING_RATE, "not known", None).increase.value == -1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 6))
def test_errors_and_groups_add_up(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    effects = {error: rng.normal(1, 3, (8, size)) for error in PredictionError}
    every = {
        BudgetSplit.FIRING_RATE: bands(rng.choice([0, 0.001, 0.1], size), FIRING_RATES),
        BudgetSplit.KIND: kinds(rng.choice(list(LatentKind), size).tolist()),
    }
    found = budget(effects, every, [f"d{i // 2}" for i in range(8)], seed=seed)
    whole = found[0].increase.value
    for split in {one.split for one in found}:
        mine = [one for one in found if one.split == split]
        assert sum(one.increase.value for one in mine if one.error) == pytest.approx(whole)
        assert sum(one.increase.value for one in mine if not one.error) == pytest.approx(whole)
        assert sum(one.latents for one in mine if not one.error) == size
        if np.isfinite(found[0].share.value):
            assert sum(one.share.value for one in mine if one.error) == pytest.approx(1)


@pytest.mark.parametrize("sign", [-1, 0])
def test_nothing_has_a_share_of_what_is_not_above_zero(sign: int) -> None:
    around = np.array([-1.0, -1, 1, 1])[:, None] if not sign else np.full((4, 1), -1.0)
    found = budget({**dict.fromkeys(PredictionError, around)}, {}, DOCUMENTS, seed=0)
    assert all(np.isnan(one.share).all() for one in found)
    assert all(np.isfinite(one.increase).all() for one in found)


def test_one_document_has_parts_without_intervals_and_no_shares() -> None:
    whole, *_ = budget(EFFECTS, {}, ["a"] * 4, seed=0)
    assert whole.increase.value == 3 and np.isnan(whole.increase.low)
    assert np.isnan(whole.share.value)


def test_a_loss_that_is_no_number_leaves_no_figure() -> None:
    broken = {**EFFECTS, MISSED: np.full((4, 3), np.nan)}
    whole, missed, positives, *_ = budget(broken, {}, DOCUMENTS, seed=0)
    assert np.isnan(whole.increase.value) and np.isnan(missed.increase.value)
    assert positives.increase.value == 3 and np.isnan(positives.share.value)


# --- Kinds ----------------------------------------------------------------------------------------

SEQ = 10
ROWS, PLACES = np.divmod(np.arange(200), SEQ)


def active(where: np.ndarray) -> LatentActivations:
    return LatentActivations(ROWS[where], PLACES[where], np.ones(int(where.sum()), np.float32))


def test_kinds_are_those_that_latents_were_made_for() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(100, 200, (20, SEQ))
    tokens[:, 3] = 1  # after many others
    tokens[:, 6], tokens[:, 7] = 2, 3  # 3 always follows 2
    tokens[:10, 8], tokens[10:, 8] = 4, 5
    tokens[::2, 1], tokens[1::2, 5] = 6, 6
    of = tokens.ravel()
    every = np.ones(200, bool)
    assert kind_of(active(of == 3), tokens) is LatentKind.POSITION  # only ever at one position
    shifted = np.array([np.roll(row, i) for i, row in enumerate(tokens)])
    of = shifted.ravel()
    assert kind_of(active(of == 3), shifted) is LatentKind.PHRASE
    assert kind_of(active(of == 1), shifted) is LatentKind.WORD
    assert kind_of(active((of < 7) & (of != 3)), shifted) is LatentKind.FEW_WORDS
    assert kind_of(active(of >= 100), shifted) is LatentKind.MANY_WORDS
    assert kind_of(active(every & (PLACES == 0)), shifted) is LatentKind.POSITION
    assert kind_of(active(np.arange(200) < 9), shifted) is LatentKind.TOO_RARE
    assert kind_of(active(~every), shifted) is LatentKind.TOO_RARE


def test_half_of_the_activation_counts_and_not_of_the_tokens() -> None:
    tokens = np.arange(200).reshape(20, SEQ)
    values = np.ones(200, np.float32)
    values[57] = 199
    assert kind_of(LatentActivations(ROWS, PLACES, values), tokens) is LatentKind.POSITION
    values[50:60:9] = 100, 100  # two tokens at two positions
    values[57] = 1
    assert kind_of(LatentActivations(ROWS, PLACES, values), tokens) is LatentKind.FEW_WORDS


def test_a_band_begins_at_its_edge() -> None:
    found = dict(bands(np.array([0.0, 0.0001, 0.001, 0.01, 1.0]), FIRING_RATES))
    assert [where.nonzero()[0].tolist() for where in found.values()] == [[0], [1], [2], [3, 4]]
    assert list(found) == [name for _, name in FIRING_RATES]
