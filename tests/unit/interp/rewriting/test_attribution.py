"""First-order estimates of loss effects: by hand, against finite differences, and as a whole."""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.coders.protocol import Coder
from interp.rewriting.attribution import Attributed, _change, attribute, means
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import Site, Values, real_latents, rewritten
from interp.scoring import statistics
from interp.vocabulary import Linearisation, Protocol
from tests.engine import CODERS, random_coder, random_tokens, tiny_subject
from tests.unit.interp.rewriting.test_evaluate_by_hand import AB, HAND_CODER, hand_model

CONTEXTS, SEQ, FIRST = 5, 7, 1
TOKENS = random_tokens(CONTEXTS, SEQ)
SUBJECT = tiny_subject()


def estimated(coder: Coder, values: Values, protocol: Protocol = Protocol.WHOLE) -> Attributed:
    return attribute(SUBJECT, coder, TOKENS, values, protocol=protocol, first_position=FIRST)


def losses(coder: Coder, *some: Values, protocol: Protocol = Protocol.WHOLE) -> np.ndarray:
    """With all latents real, and with each of some rewritings, shape (1 + some, context)."""
    splices = [real_latents, *(rewritten(values) for values in some)]
    return evaluate(
        SUBJECT, coder, TOKENS, splices, protocol=protocol, first_position=FIRST, divergence=False
    ).loss


def real_activations(coder: Coder, protocol: Protocol = Protocol.WHOLE) -> Tensor:
    where = protocol.spliced(SEQ, FIRST)
    hooked = SUBJECT.capture(TOKENS)
    site = Site(
        coder, hooked._replace(input=hooked.input[:, where], output=hooked.output[:, where])
    )
    return site.real.clone().unflatten(0, (CONTEXTS, -1))


def simulated(coder: Coder, protocol: Protocol, seed: int = 0) -> Tensor:
    """Values that have nothing to do with the text: some are zero, some push others out."""
    shape = real_activations(coder, protocol).shape
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(shape, generator=generator)).clamp_min(0)


# --- By hand --------------------------------------------------------------------------------------

# The model and the coder of test_evaluate_by_hand.py, with the simulations of latent 0: 2 on A, 4
# on B. The loss depends on the gap g alone, on A as ln(1 + 2^−g), on B as ln(1 + 2^g), and a unit
# of latent 0 adds 1 to the gap, a unit of latent 1 takes 1 away.
#
#   slope on A = −ln 2 / (1 + 2^g)       slope on B = ln 2 / (1 + 2^−g)
#
# With all latents real, g is 3 on A and −1 on B: the slopes are −ln 2 / 9 and ln 2 / 3. On A,
# latent 0 goes from 3 to 2. On B it goes from 0 to 4 and drives out latent 1, which was at 3:
# together the gap grows by 7. A context has one A and one B, and its loss is the mean of both.
#
# The untouched model has g = 1 on A and −3 on B: the slopes are −ln 2 / 3 and ln 2 / 9.
#
# Rewritten, g is 2 on A and 6 on B: the slopes are −ln 2 / 5 and 64 ln 2 / 65. Made real again, the
# latent goes back by the same amounts.


def test_estimates_are_those_worked_out_by_hand() -> None:
    values = Values.of(torch.tensor([0]), torch.tensor([[[2.0], [4.0]], [[4.0], [2.0]]]))
    found = attribute(
        hand_model(), HAND_CODER, AB, values, protocol=Protocol.WHOLE, first_position=0
    ).effects
    for point, (a, b) in {
        Linearisation.REAL_LATENTS: (-1 / 9, 1 / 3),
        Linearisation.UNTOUCHED: (-1 / 3, 1 / 9),
        Linearisation.REWRITTEN: (-1 / 5, 64 / 65),
    }.items():
        expected = (a * (2 - 3) + b * (4 + 3)) * log(2) / 2
        assert found[point][:, 0] == pytest.approx([expected] * 2, rel=1e-5)


# --- Against finite differences -------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("kind", CODERS)
def test_small_changes_have_the_effect_that_is_estimated(kind: str, protocol: Protocol) -> None:
    coder = CODERS[kind]
    real = real_activations(coder, protocol)
    latents = torch.arange(coder.num_latents)
    small = torch.where(real > 0, 0.02 * real, 0.0)
    above, below = (
        [
            Values.of(latents[[i]], real[..., [i]] + sign * small[..., [i]])
            for i in range(coder.num_latents)
        ]
        for sign in (1, -1)
    )
    _, *exact = losses(coder, *above, *below, protocol=protocol)
    difference = (np.array(exact[: len(latents)]) - np.array(exact[len(latents) :])) / 2
    found = estimated(coder, Values.of(latents, real + small), protocol)
    estimates = found.effects[Linearisation.REAL_LATENTS].T
    assert np.abs(difference).max() > 1e-3
    assert estimates == pytest.approx(difference, abs=2e-3 * np.abs(difference).max())


@pytest.mark.parametrize("kind", CODERS)
def test_what_a_latent_changes_in_the_output_is_exact(kind: str) -> None:
    """Also where it enters or leaves the top k, alone or among the others rewritten."""
    coder = CODERS[kind]
    real = real_activations(coder).flatten(0, 1)
    given_ = simulated(coder, Protocol.WHOLE).flatten(0, 1)
    direction = torch.randn(len(real), coder.d_out)
    slopes = direction @ coder.decoder.T

    def weighed(mixture: Tensor) -> Tensor:
        return (slopes * coder.rule.select(mixture).dense(coder.num_latents)).sum(1)

    latents = torch.tensor([7, 2, 3, 10, 5, 0])
    mixed = real.clone()
    mixed[:, latents] = given_[:, latents]
    for base in (real, mixed):
        rivals = coder.rule.rivals(base, latents)
        found = _change(coder.rule, rivals, slopes, latents, real[:, latents], given_[:, latents])
        for column, latent in enumerate(latents.tolist()):
            after, before = base.clone(), base.clone()
            after[:, latent], before[:, latent] = given_[:, latent], real[:, latent]
            torch.testing.assert_close(
                found[:, column], weighed(after) - weighed(before), atol=1e-4, rtol=1e-4
            )


# --- As a whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_the_losses_at_both_ends_are_those_of_an_evaluation(protocol: Protocol) -> None:
    coder = random_coder()
    latents = torch.tensor([7, 2, 3, 10, 5, 0])
    values = Values.of(latents, simulated(coder, protocol)[..., latents])
    found = estimated(coder, values, protocol)
    start, end = losses(coder, values, protocol=protocol)
    assert found.real == pytest.approx(start, abs=1e-5)
    assert found.rewritten == pytest.approx(end, abs=1e-5)


def test_without_a_bound_on_the_active_latents_small_effects_add_up() -> None:
    """With k as large as the coder, no latent can push out another: the output is linear in the
    activations, and the estimates of all latents sum to that of the layer."""
    coder = random_coder(num_latents=12, k=12)
    real, other = real_activations(coder), simulated(coder, Protocol.WHOLE)
    values = Values.of(torch.arange(12), real + 0.01 * (other - real))
    found = estimated(coder, values)
    increase = found.rewritten - found.real
    exact = np.subtract(*losses(coder, values)[::-1])
    for point in (Linearisation.REAL_LATENTS, Linearisation.REWRITTEN, Linearisation.PATH):
        total = found.effects[point].sum(1)
        tolerance = 0.02 if point is Linearisation.PATH else 0.2
        assert total == pytest.approx(exact, abs=tolerance * np.abs(exact).max())
    assert increase == pytest.approx(exact, abs=1e-5)


def test_the_path_shares_out_a_large_increase() -> None:
    coder = random_coder(num_latents=12, k=12)
    real, other = real_activations(coder), simulated(coder, Protocol.WHOLE)
    values = Values.of(torch.arange(12), real + 0.1 * (other - real))
    found = estimated(coder, values)
    increase = found.rewritten - found.real
    assert np.abs(increase).max() > 0.1
    path = found.effects[Linearisation.PATH].sum(1)
    alone = found.effects[Linearisation.REAL_LATENTS].sum(1)
    assert np.abs(path - increase).max() < 0.1 * np.abs(alone - increase).max()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 4))
def test_batches_and_other_latents_change_no_estimate_of_a_latent_alone(
    seed: int, size: int
) -> None:
    coder = random_coder()
    every = simulated(coder, Protocol.WHOLE, seed)
    latents = torch.arange(coder.num_latents)
    whole = estimated(coder, Values.of(latents, every)).effects
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))
    some = order[:size].tolist()
    rows = [3, 1]
    part = attribute(
        SUBJECT,
        coder,
        TOKENS,
        Values.of(latents[some], every[..., some]),
        protocol=Protocol.WHOLE,
        first_position=FIRST,
        rows=rows,
    ).effects
    for point in (Linearisation.REAL_LATENTS, Linearisation.UNTOUCHED):
        np.testing.assert_allclose(part[point], whole[point][np.ix_(rows, some)], atol=1e-5)


def test_a_latent_without_values_has_no_effect() -> None:
    coder = random_coder()
    values = simulated(coder, Protocol.WHOLE)
    values[..., 4] = torch.nan
    found = estimated(coder, Values.of(torch.arange(12), values)).effects
    for effects in found.values():
        assert (effects[:, 4] == 0).all()
        assert (effects != 0).any()


# --- Means ----------------------------------------------------------------------------------------


def test_means_and_intervals_are_those_of_one_latent_at_a_time() -> None:
    rng = np.random.default_rng(0)
    documents = [f"d{i // 3}" for i in range(40)]
    effects = rng.normal(size=(40, 6)) + rng.normal(size=6)
    effects[3, 5] = np.nan
    *found, without = means(effects, documents, seed=1)
    for column, one in zip(effects.T, found, strict=False):
        expected = statistics.mean(column, documents, seed=1)
        assert one.value == pytest.approx(expected.value)
        assert one[1:] == pytest.approx(expected[1:], abs=0.03)
    assert np.isnan(without).all()
    (alone,) = means(effects[:3, :1], ["d"] * 3, seed=0)
    assert alone.value == pytest.approx(effects[:3, 0].mean()) and np.isnan(alone.low)
