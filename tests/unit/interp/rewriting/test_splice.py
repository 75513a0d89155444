"""What each condition puts in the module's place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.linear import LinearCoder
from interp.coders.rules import TopK
from interp.model.subject import Hooked
from interp.rewriting.splice import (
    Site,
    Splice,
    Values,
    mean,
    no_latents,
    noise,
    oracle_gating,
    oracle_values,
    random_latents,
    real_latents,
    resample,
    rewritten,
    rewritten_error_kept,
    set_zeroed,
    set_zeroed_error_kept,
    untouched,
    zero,
)
from tests.engine import CODERS, D_MODEL, hand_coder, whole_forward

NAN = torch.nan
FIRST = torch.tensor([0])

# --- Worked by hand -----------------------------------------------------------------------------
#
# A transcoder of two latents, k = 1, in two dimensions. Latent 0 reads the first number and writes
# it out first; latent 1 reads the second and writes twice as much of it second. The bias is
# (10, 20), and the skip connection passes on a tenth of what comes in.
#
# One context of two tokens: (3, 1) and (2, 5). The module itself puts out (7, 7) and (8, 8).
#   token 0: latents (3, 1), the top one is 0 at 3: 3·(1, 0) + (10, 20) + (0.3, 0.1) = (13.3, 20.1)
#   token 1: latents (2, 5), the top one is 1 at 5: 5·(0, 2) + (10, 20) + (0.2, 0.5) = (10.2, 30.5)
CODER = hand_coder(
    [[1, 0], [0, 1]], [[1, 0], [0, 2]], k=1, bias=[10, 20], skip=[[0.1, 0], [0, 0.1]]
)
HOOKED = Hooked(torch.tensor([[[3.0, 1.0], [2.0, 5.0]]]), torch.tensor([[[7.0, 7.0], [8.0, 8.0]]]))
REAL = [[13.3, 20.1], [10.2, 30.5]]
NOTHING = [[10.3, 20.1], [10.2, 20.5]]


def output(splice: Splice, coder: SparsifyCoder = CODER) -> list[list[float]]:
    found = splice(Site(coder, HOOKED), FIRST)
    return [[round(x, 4) for x in token] for token in found[0].tolist()]


def values(latents: list[int], activations: list[list[float]]) -> Values:
    """One context: a row of activations a token."""
    return Values.of(torch.tensor(latents), torch.tensor([activations]))


def at_random(given: Values, quantiles: list[list[float]], seed: int = 0) -> Splice:
    return random_latents(given, torch.tensor(quantiles), seed=seed)


def test_untouched_is_the_modules_own_output() -> None:
    assert output(untouched) == [[7, 7], [8, 8]]


def test_zero_puts_out_nothing() -> None:
    assert output(zero) == [[0, 0], [0, 0]]


def test_mean_puts_out_the_mean_everywhere() -> None:
    assert output(mean(torch.tensor([4.0, 5.0]))) == [[4, 5], [4, 5]]


def test_resample_puts_out_what_stands_elsewhere() -> None:
    assert output(resample(torch.tensor([[4.0, 5.0]]), seed=0)) == [[4, 5], [4, 5]]
    others = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = [output(resample(others, seed=seed)) for seed in range(60)]
    first, second = zip(*[map(tuple, tokens) for tokens in found], strict=True)
    for tokens in (first, second):
        # Each by even chance: 20 ± 3.7 of 60.
        assert sorted(set(tokens)) == [(1, 2), (3, 4), (5, 6)]
        assert all(8 <= tokens.count(one) <= 32 for one in set(tokens))
    assert len(set(zip(first, second, strict=True))) == 9, "each position anew"


def test_no_latents_puts_out_bias_and_skip() -> None:
    assert output(no_latents) == NOTHING
    without_skip = hand_coder([[1, 0], [0, 1]], [[1, 0], [0, 2]], k=1, bias=[10, 20], skip=None)
    assert output(no_latents, without_skip) == [[10, 20], [10, 20]]


def test_real_latents_put_out_the_coders_own_output() -> None:
    assert output(real_latents) == REAL


def test_a_latent_below_the_top_k_is_not_active() -> None:
    assert Site(CODER, HOOKED).real.tolist() == [[3, 0], [0, 5]]


def test_a_rewritten_latent_takes_the_given_value() -> None:
    # Latent 0 simulated as 4 and 0. Token 0: 4·(1, 0) instead of 3. Token 1: latent 1 stays.
    assert output(rewritten(values([0], [[4], [0]]))) == [[14.3, 20.1], [10.2, 30.5]]


def test_only_the_top_k_of_the_mixture_are_kept() -> None:
    # Latent 0 simulated as 0 and 6. Token 0: nothing is left; the coder's k = 1 had kept only
    # latent 0, and latent 1 does not come back. Token 1: 6 > 5, so latent 0 drives latent 1 out:
    # 6·(1, 0) + (10.2, 20.5).
    assert output(rewritten(values([0], [[0], [6]]))) == [[10.3, 20.1], [16.2, 20.5]]
    # At 4 it does not: 5 stays on top.
    assert output(rewritten(values([0], [[3], [4]]))) == REAL


def test_values_go_to_their_own_latents() -> None:
    # Latents given in the order 1, 0. Token 0: latent 1 at 9: 9·(0, 2) + (10.3, 20.1). Token 1:
    # latent 0 at 8.
    assert output(rewritten(values([1, 0], [[9, 1], [0, 8]]))) == [[10.3, 38.1], [18.2, 20.5]]


def test_the_set_zeroed_is_zero_where_it_would_be_rewritten() -> None:
    # Latent 1 on both tokens: token 0 keeps latent 0; token 1 is left with nothing.
    assert output(set_zeroed(values([1], [[9], [4]]))) == [[13.3, 20.1], [10.2, 20.5]]
    # And that is what rewriting it with zeros is.
    assert output(rewritten(values([1], [[0], [0]]))) == [[13.3, 20.1], [10.2, 20.5]]


def test_oracle_gating_keeps_the_values_of_active_latents() -> None:
    # Simulated (4, 9) and (6, 2). Token 0: latent 0 is active, at 4; the 9 of latent 1, which is
    # not, is dropped. Token 1: latent 1 is active, at 2: 2·(0, 2) + (10.2, 20.5).
    given = values([0, 1], [[4, 9], [6, 2]])
    assert output(oracle_gating(given)) == [[14.3, 20.1], [10.2, 24.5]]
    assert output(rewritten(given)) == [[10.3, 38.1], [16.2, 20.5]]
    # Simulated as 0 where it is active: nothing is left. What is not in the set stays real.
    assert output(oracle_gating(values([0], [[0], [7]]))) == [[10.3, 20.1], [10.2, 30.5]]


def test_oracle_values_are_true_where_the_simulation_says_active() -> None:
    # Simulated (0.5, 0) and (6, 2): active latents are predicted active at any value above zero.
    # They are at their true 3 and 5, and the false positive on token 1 is at its true zero.
    assert output(oracle_values(values([0, 1], [[0.5, 0], [6, 2]]))) == REAL
    # Simulated (0, 9) and (6, 0): both active latents are missed, and the others are truly zero.
    # (Latent 1 would be at 1 on token 0, but is not among the top k.)
    assert output(oracle_values(values([0, 1], [[0, 9], [6, 0]]))) == NOTHING
    # What is not in the set stays real.
    assert output(oracle_values(values([0], [[0], [7]]))) == [[10.3, 20.1], [10.2, 30.5]]


def test_with_the_error_kept_only_the_change_is_added_to_the_modules_output() -> None:
    # The module puts out (7, 7) and (8, 8). Latent 0 simulated as 4 and 0: by the coder one more
    # than its 3 on token 0, which is 1·(1, 0). Token 1 is the module's own.
    assert output(rewritten_error_kept(values([0], [[4], [0]]))) == [[8, 7], [8, 8]]
    # As 3 and 6: on token 1 it drives latent 1 out: (8, 8) + 6·(1, 0) − 5·(0, 2).
    assert output(rewritten_error_kept(values([0], [[3], [6]]))) == [[7, 7], [14, -2]]
    # Latent 1 zeroed: (8, 8) − 5·(0, 2). Both: (7, 7) − 3·(1, 0) too.
    assert output(set_zeroed_error_kept(values([1], [[9], [4]]))) == [[7, 7], [8, -2]]
    assert output(set_zeroed_error_kept(values([0, 1], [[9, 1], [4, 1]]))) == [[4, 7], [8, -2]]


def test_an_autoencoder_keeps_the_error_of_what_it_reads() -> None:
    # It reads the module's (7, 1) and (1, 6) and writes each latent once: 7·(1, 0) and 6·(0, 1).
    # Its error is (0, 1) and (1, 0). Latent 0 simulated as 5 and 0: (5, 0) + (0, 1), and as it was.
    eye = [[1.0, 0.0], [0.0, 1.0]]
    coder = LinearCoder(
        "sae", torch.tensor(eye), torch.zeros(2), torch.tensor(eye), torch.zeros(2), TopK(1)
    )
    hooked = Hooked(torch.zeros(1, 2, 2), torch.tensor([[[7.0, 1.0], [1.0, 6.0]]]))
    site, given = Site(coder, hooked), values([0], [[5], [0]])
    assert rewritten(given)(site, FIRST).tolist() == [[[5, 0], [0, 6]]]
    assert rewritten_error_kept(given)(site, FIRST).tolist() == [[[5, 1], [1, 6]]]
    assert set_zeroed_error_kept(given)(site, FIRST).tolist() == [[[0, 1], [1, 6]]]


def test_noise_is_as_large_as_the_error_and_points_anywhere() -> None:
    # Latent 0 simulated as 4 and 6. Token 0 is off by (1, 0), of length 1; token 1 by
    # 6·(1, 0) − 5·(0, 2) = (6, −10), of length √136.
    given = values([0], [[4], [6]])
    found = [noise(given, seed=seed)(Site(CODER, HOOKED), FIRST)[0] for seed in range(200)]
    off = torch.stack(found) - torch.tensor(REAL)
    assert off.norm(dim=-1).tolist() == [pytest.approx([1, 136**0.5], abs=1e-4)] * 200
    direction = off / torch.tensor([1, 136**0.5])[:, None]
    # A mean over the circle is 0 ± 0.05, and the mean square of either number ½ ± 0.025.
    assert direction.mean(0).abs().max() < 0.2
    assert direction.square().mean(0).flatten().tolist() == pytest.approx([0.5] * 4, abs=0.1)
    # Where there is no error there is no noise.
    assert output(noise(values([0], [[3], [0]]), seed=0)) == REAL


def test_random_latents_of_one_latent_fire_where_it_does() -> None:
    # Latent 0 is active on token 0: it gets 9, the only value that it ever has. On token 1 it is
    # not, whatever is said.
    splice = at_random(values([0], [[0], [6]]), [[9, 9]])
    assert output(splice) == [[19.3, 20.1], [10.2, 30.5]]


def test_random_latents_are_any_of_the_set() -> None:
    # One latent is active on each token: either latent 0, which is always at 9, or latent 1, which
    # is always at 4. Token 0: 9·(1, 0) or 4·(0, 2) + (10.3, 20.1). Token 1: the same + (10.2, 20.5)
    given = values([0, 1], [[1, 1], [1, 1]])
    found = [output(at_random(given, [[9, 9], [4, 4]], seed)) for seed in range(40)]
    first, second = zip(*[map(tuple, tokens) for tokens in found], strict=True)
    assert set(first) == {(19.3, 20.1), (10.3, 28.1)}
    assert set(second) == {(19.2, 20.5), (10.2, 28.5)}
    # Which one is by even chance (20 ± 3.2 of 40), and on each token anew.
    for tokens in (first, second):
        assert 8 <= tokens.count(tokens[0]) <= 32
    assert len(set(zip(first, second, strict=True))) == 4


SET_CONDITIONS = {
    "rewritten": rewritten,
    "set_zeroed": set_zeroed,
    "oracle_gating": oracle_gating,
    "oracle_values": oracle_values,
    "random_latents": lambda given: random_latents(
        given, torch.tensor([[9.0, 9.0]]).expand(len(given.latents), -1), seed=0
    ),
}


@pytest.mark.parametrize("condition", SET_CONDITIONS)
def test_a_missing_value_leaves_the_latent_real(condition: str) -> None:
    splice = SET_CONDITIONS[condition]
    assert output(splice(values([0, 1], [[NAN, NAN], [NAN, NAN]]))) == REAL
    # Latent 1 is missing on token 1, where it is active, and is given a 9 on token 0. That leaves
    # latent 0 at 3 there, or drives it out: 9·(0, 2) + (10.3, 20.1).
    token = [10.3, 38.1] if condition == "rewritten" else [13.3, 20.1]
    assert output(splice(values([1], [[9], [NAN]]))) == [token, [10.2, 30.5]]
    # Latent 0 is missing on token 0, where it is active. The 0 of latent 1 there is its true one.
    assert output(splice(values([0, 1], [[NAN, 0], [0, 8]])))[0] == [13.3, 20.1]


def test_missing_values_leave_no_noise_and_with_the_error_kept_the_module() -> None:
    missing = values([0, 1], [[NAN, NAN], [NAN, NAN]])
    assert output(noise(missing, seed=0)) == REAL
    assert output(rewritten_error_kept(missing)) == [[7, 7], [8, 8]]
    assert output(set_zeroed_error_kept(missing)) == [[7, 7], [8, 8]]


def test_values_belong_to_the_rows_of_their_set() -> None:
    # Three contexts with values 1, 2, 9 for latent 0 on the first token; the batch holds the same
    # context as rows 2 and 0.
    given = Values.of(torch.tensor([0]), torch.tensor([[[1.0], [0]], [[2], [0]], [[9], [0]]]))
    batch = Hooked(HOOKED.input.repeat(2, 1, 1), HOOKED.output.repeat(2, 1, 1))
    found = rewritten(given)(Site(CODER, batch), torch.tensor([2, 0]))
    assert found[:, 0, 0].tolist() == pytest.approx([19.3, 11.3])


def test_values_are_asked_for_a_batch_at_a_time() -> None:
    asked: list[list[int]] = []

    def at(rows: Tensor) -> Tensor:
        asked.append(rows.tolist())
        return torch.zeros(len(rows), 2, 1)

    rewritten(Values(torch.tensor([0]), at))(Site(CODER, HOOKED), torch.tensor([7]))
    assert asked == [[7]]


# --- Coders of every kind -----------------------------------------------------------------------

RANDOM_HOOKED = Hooked(*torch.randn(2, 2, 5, D_MODEL, generator=torch.Generator().manual_seed(1)))
BOTH = torch.tensor([0, 1])


@pytest.mark.parametrize("kind", CODERS)
def test_real_latents_are_the_coders_forward(kind: str) -> None:
    coder = CODERS[kind]
    # A transcoder reads what goes into the module, an SAE what comes out.
    x = RANDOM_HOOKED.input if coder.kind == "transcoder" else RANDOM_HOOKED.output
    expected = whole_forward(coder, x.flatten(0, 1)).view_as(x)
    torch.testing.assert_close(real_latents(Site(coder, RANDOM_HOOKED), BOTH), expected)


@pytest.mark.parametrize("kind", CODERS)
def test_no_latents_leave_bias_and_skip_of_every_kind(kind: str) -> None:
    coder = CODERS[kind]
    x = RANDOM_HOOKED.input if coder.kind == "transcoder" else RANDOM_HOOKED.output
    expected = whole_forward(coder, x.flatten(0, 1), silent=True).view_as(x)
    torch.testing.assert_close(no_latents(Site(coder, RANDOM_HOOKED), BOTH), expected)


@pytest.mark.parametrize("kind", CODERS)
def test_equal_activations_have_an_output_equal_to_the_last_bit(kind: str) -> None:
    # Which contexts a condition changes is told by exact comparison.
    coder = CODERS[kind]
    site = Site(coder, RANDOM_HOOKED)
    real = site.real.view(2, 5, -1)
    # In any order of the latents.
    latents = torch.randperm(coder.num_latents, generator=torch.Generator().manual_seed(2))
    own = Values.of(latents, real[..., latents])
    nothing = Values.of(latents, torch.zeros_like(real))
    missing = Values.of(latents, torch.full_like(real, NAN))
    expected = real_latents(site, BOTH)
    for splice in (rewritten(own), oracle_gating(own), oracle_values(own)):
        assert torch.equal(splice(site, BOTH), expected)
    for splice in SET_CONDITIONS.values():
        assert torch.equal(splice(missing)(site, BOTH), expected)
    assert torch.equal(noise(own, seed=0)(site, BOTH), expected)
    for kept_error in (rewritten_error_kept(own), set_zeroed_error_kept(missing)):
        assert torch.equal(kept_error(site, BOTH), RANDOM_HOOKED.output)
    for splice in (rewritten(nothing), set_zeroed(own), oracle_values(nothing)):
        assert torch.equal(splice(site, BOTH), no_latents(site, BOTH))


# --- Whatever is simulated ----------------------------------------------------------------------


def reading_coder(num_latents: int, k: int) -> SparsifyCoder:
    """One latent a dimension, which it reads and writes: the output *is* the kept activations."""
    eye = torch.eye(num_latents).tolist()
    return hand_coder(eye, eye, k=k, bias=[0.0] * num_latents, skip=None)


def kept(splice: Splice, x: Tensor, k: int, rows: Tensor | None = None) -> Tensor:
    """The activations that reach the decoder, from what the latents read."""
    site = Site(reading_coder(x.shape[-1], k), Hooked(x, torch.zeros_like(x)))
    return splice(site, torch.arange(len(x)) if rows is None else rows)


@st.composite
def simulated(draw: st.DrawFn) -> tuple[Tensor, Values, Tensor, int]:
    """What the latents read, the values of some of them (NaN among them), those again, and k."""
    latents, contexts, seq = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(contexts, seq, latents, generator=generator)
    chosen = draw(st.lists(st.integers(0, latents - 1), min_size=1, unique=True))
    given = torch.randn(contexts, seq, len(chosen), generator=generator).clamp_min(0)
    given[torch.rand(given.shape, generator=generator) < 0.3] = NAN
    return x, Values.of(torch.tensor(chosen), given), given, draw(st.integers(1, latents))


@given(simulated())
def test_each_condition_says_what_a_latent_gets(case: tuple[Tensor, Values, Tensor, int]) -> None:
    x, some, given, _ = case
    # With k = all, every active latent is kept.
    every = x.shape[-1]
    real = x.clamp_min(0)
    own = real[..., some.latents]
    missing = given.isnan()
    others = [i for i in range(every) if i not in some.latents]
    for splice, expected in [
        (rewritten(some), given),
        (set_zeroed(some), torch.zeros_like(given)),
        (oracle_gating(some), given * (own > 0)),
        (oracle_values(some), own * (given > 0)),
    ]:
        found = kept(splice, x, every)
        assert torch.equal(found[..., others], real[..., others])
        assert torch.equal(found[..., some.latents], torch.where(missing, own, expected))


@given(simulated(), st.integers(0, 1000))
def test_as_many_random_latents_as_are_truly_active(
    case: tuple[Tensor, Values, Tensor, int], seed: int
) -> None:
    x, some, given, k = case
    # Latent i is between 10 i + 1 and 10 i + 4 where it is active.
    low = 10 * some.latents[:, None] + 1.0
    quantiles = low + torch.tensor([0, 0.5, 3])
    real = kept(real_latents, x, k)
    found = kept(random_latents(some, quantiles, seed=seed), x, k)
    own, drawn, there = real[..., some.latents], found[..., some.latents], ~given.isnan()
    assert torch.equal(((drawn > 0) & there).sum(-1), ((own > 0) & there).sum(-1))
    low = low[:, 0].expand_as(drawn)
    assert ((drawn >= low) & (drawn <= low + 3))[(drawn > 0) & there].all()
    # Missing ones, and those of no concern, are real.
    assert torch.equal(drawn[~there], own[~there])
    others = [i for i in range(x.shape[-1]) if i not in some.latents]
    assert torch.equal(found[..., others], real[..., others])


@given(simulated(), st.data())
def test_a_context_is_spliced_alike_in_every_batch(
    case: tuple[Tensor, Values, Tensor, int], data: st.DataObject
) -> None:
    x, some, _, k = case
    rows = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=5))
    quantiles = torch.tensor([[1.0, 2.0, 5.0]]).expand(len(some.latents), -1)
    for splice in (
        rewritten(some),
        random_latents(some, quantiles, seed=3),
        noise(some, seed=3),
        rewritten_error_kept(some),
        resample(torch.randn(50, x.shape[-1]), seed=3),
    ):
        expected = kept(splice, x, k)[rows]
        assert torch.equal(kept(splice, x[rows], k, torch.tensor(rows)), expected)


@given(simulated(), st.integers(0, 1000))
def test_noise_has_the_size_of_the_rewritings_error_on_every_token(
    case: tuple[Tensor, Values, Tensor, int], seed: int
) -> None:
    x, some, _, k = case
    real = kept(real_latents, x, k)
    found = (kept(noise(some, seed=seed), x, k) - real).norm(dim=-1)
    expected = (kept(rewritten(some), x, k) - real).norm(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@given(simulated())
def test_the_error_kept_is_the_modules_output_less_the_real_latents(
    case: tuple[Tensor, Values, Tensor, int],
) -> None:
    x, some, _, k = case
    own = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    site = Site(reading_coder(x.shape[-1], k), Hooked(x, own))
    rows = torch.arange(len(x))
    error = own - real_latents(site, rows)
    for plain, with_error in (
        (rewritten(some), rewritten_error_kept(some)),
        (set_zeroed(some), set_zeroed_error_kept(some)),
    ):
        torch.testing.assert_close(with_error(site, rows), plain(site, rows) + error)


def test_in_half_precision_what_is_not_changed_is_the_modules_own() -> None:
    hooked = Hooked(*(one.bfloat16() for one in RANDOM_HOOKED))
    site = Site(CODERS["transcoder"], hooked)
    own = Values.of(torch.arange(12), site.real.view(2, 5, -1))
    assert torch.equal(rewritten_error_kept(own)(site, BOTH), hooked.output)
    assert torch.equal(noise(own, seed=0)(site, BOTH), real_latents(site, BOTH))


# --- What is drawn ------------------------------------------------------------------------------

ALWAYS = torch.ones(8, 250, 1)
"""A latent that is always active, on eight contexts of 250 tokens."""


def test_draws_follow_the_latents_distribution() -> None:
    # Ranks 0, ⅓, ⅔, 1: a third of the draws is below 1, a third between 1 and 2, and a third
    # between 2 and 8, spread evenly. 2,000 draws: a third is 667 ± 21, and the mean of the last
    # third is 5 ± 0.07.
    quantiles = torch.tensor([[0.0, 1.0, 2.0, 8.0]])
    splice = random_latents(Values.of(torch.tensor([0]), ALWAYS), quantiles, seed=0)
    drawn = kept(splice, ALWAYS, 1).flatten()
    counts = [
        int(((drawn >= low) & (drawn < high)).sum()) for low, high in [(0, 1), (1, 2), (2, 8)]
    ]
    assert counts == pytest.approx([667, 667, 667], abs=85)
    assert float(drawn[drawn >= 2].mean()) == pytest.approx(5, abs=0.28)


def test_seeds_and_rows_draw_differently() -> None:
    given = Values.of(torch.tensor([0]), ALWAYS)
    quantiles = torch.tensor([[1.0, 2.0]])
    one, same, other = (
        kept(random_latents(given, quantiles, seed=seed), ALWAYS, 1) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.isclose(one, other).all(1).any()
    assert len({tuple(context) for context in one.flatten(1).tolist()}) == len(ALWAYS)


def test_no_draw_falls_off_the_end_of_the_distribution() -> None:
    # Among the draws of seed 0 for row 71 is 0.99999997, which is 1 in single precision.
    draws = np.random.default_rng([0, 71]).random((2, 250, 40))[1]
    assert np.float32(draws.max()) == 1
    given = Values(torch.arange(40), lambda rows: torch.zeros(len(rows), 250, 40))
    splice = random_latents(given, torch.tensor([[1.0, 2.0]]).expand(40, -1), seed=0)
    drawn = kept(splice, torch.ones(1, 250, 40), 40, torch.tensor([71]))
    assert drawn.min() >= 1
    assert drawn.max() <= 2
