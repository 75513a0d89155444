"""What each condition puts in the module's place, and what that costs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from interp import evaluate
from interp.coders import Coder
from interp.coders.coder import coder_input
from interp.evaluate import (
    Condition,
    Positions,
    changed_contexts,
    context_losses,
    losses_against,
)
from interp.splice import (
    Splice,
    Values,
    mean,
    no_latents,
    real_latents,
    rewritten,
    set_zeroed,
    zero,
)
from interp.subject import Hooked
from tests.engine import D_MODEL, MLP, hand_coder, random_coder, random_tokens, tiny_subject

NAN = torch.nan
ROWS = torch.tensor([0])
CONTEXTS, SEQ, LATENTS = 9, 7, 12

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


def output(splice: Splice) -> list[list[float]]:
    return [[round(x, 4) for x in token] for token in splice(HOOKED, ROWS)[0].tolist()]


def values(latents: list[int], activations: list[list[float]]) -> Values:
    """One context: a row of activations a token."""
    return Values(torch.tensor(latents), torch.tensor([activations]))


def test_zero_puts_out_nothing() -> None:
    assert output(zero) == [[0, 0], [0, 0]]


def test_mean_puts_out_the_mean_everywhere() -> None:
    assert output(mean(torch.tensor([4.0, 5.0]))) == [[4, 5], [4, 5]]


def test_no_latents_puts_out_bias_and_skip() -> None:
    assert output(no_latents(CODER)) == [[10.3, 20.1], [10.2, 20.5]]
    without_skip = hand_coder([[1, 0], [0, 1]], [[1, 0], [0, 2]], k=1, bias=[10, 20], skip=None)
    assert output(no_latents(without_skip)) == [[10, 20], [10, 20]]


def test_real_latents_put_out_the_coders_own_output() -> None:
    assert output(real_latents(CODER)) == [[13.3, 20.1], [10.2, 30.5]]


def test_a_rewritten_latent_takes_the_given_value() -> None:
    # Latent 0 simulated as 4 and 0. Token 0: 4·(1, 0) instead of 3. Token 1: latent 1 stays.
    assert output(rewritten(CODER, values([0], [[4], [0]]))) == [[14.3, 20.1], [10.2, 30.5]]


def test_only_the_top_k_of_the_mixture_are_kept() -> None:
    # Latent 0 simulated as 0 and 6. Token 0: nothing is left; the coder's k = 1 had kept only
    # latent 0, and latent 1 does not come back. Token 1: 6 > 5, so latent 0 drives latent 1 out:
    # 6·(1, 0) + (10.2, 20.5).
    assert output(rewritten(CODER, values([0], [[0], [6]]))) == [[10.3, 20.1], [16.2, 20.5]]
    # At 4 it does not: 5 stays on top.
    assert output(rewritten(CODER, values([0], [[3], [4]]))) == [[13.3, 20.1], [10.2, 30.5]]


def test_values_go_to_their_own_latents() -> None:
    # Latents given in the order 1, 0. Token 0: latent 1 at 9: 9·(0, 2) + (10.3, 20.1). Token 1:
    # latent 0 at 8.
    splice = rewritten(CODER, values([1, 0], [[9, 1], [0, 8]]))
    assert output(splice) == [[10.3, 38.1], [18.2, 20.5]]


def test_a_missing_value_leaves_the_latent_real() -> None:
    assert output(rewritten(CODER, values([0, 1], [[NAN, NAN], [NAN, NAN]]))) == output(
        real_latents(CODER)
    )
    # Latent 1 missing on token 1 stays at 5; it has been given 9 on token 0.
    splice = rewritten(CODER, values([1], [[9], [NAN]]))
    assert output(splice) == [[10.3, 38.1], [10.2, 30.5]]


def test_the_set_zeroed_is_zero_where_it_would_be_rewritten() -> None:
    # Latent 1 on both tokens: token 0 keeps latent 0; token 1 is left with nothing.
    assert output(set_zeroed(CODER, values([1], [[9], [4]]))) == [[13.3, 20.1], [10.2, 20.5]]
    # Where its value is missing it stays real.
    assert output(set_zeroed(CODER, values([1], [[9], [NAN]]))) == [[13.3, 20.1], [10.2, 30.5]]
    # And that is what rewriting it with zeros is.
    assert output(rewritten(CODER, values([1], [[0], [0]]))) == [[13.3, 20.1], [10.2, 20.5]]


def test_values_belong_to_the_rows_of_their_set() -> None:
    # Three contexts with values 1, 2, 9 for latent 0 on the first token; the batch holds the same
    # context as rows 2 and 0.
    given = Values(torch.tensor([0]), torch.tensor([[[1.0], [0]], [[2], [0]], [[9], [0]]]))
    batch = Hooked(HOOKED.input.repeat(2, 1, 1), HOOKED.output.repeat(2, 1, 1))
    found = rewritten(CODER, given)(batch, torch.tensor([2, 0]))
    assert found[:, 0, 0].tolist() == pytest.approx([19.3, 11.3])


def test_an_sae_reads_what_it_replaces() -> None:
    coder = random_coder(transcode=False, skip=False)
    hooked = Hooked(torch.zeros(1, 3, D_MODEL), torch.randn(1, 3, D_MODEL))
    expected = coder.module(hooked.output[0]).sae_out
    torch.testing.assert_close(real_latents(coder)(hooked, ROWS)[0], expected)


# --- On whole models ----------------------------------------------------------------------------

TOKENS = random_tokens(CONTEXTS, SEQ)


def losses(
    architecture: str,
    splice: Splice | None,
    positions: Positions = Positions.ALL,
    tokens: Tensor = TOKENS,
    rows: list[int] | None = None,
) -> NDArray[np.float64]:
    return context_losses(
        tiny_subject(architecture),
        tokens,
        splice,
        positions=positions,
        first_position=1,
        rows=rows,
    )


def real_values(architecture: str, coder: Coder, latents: list[int]) -> Values:
    """The latents' own activations."""
    x = coder_input(coder, tiny_subject(architecture).capture(TOKENS))
    top = coder.encode(x.flatten(0, 1))
    dense = torch.zeros(len(top.indices), coder.num_latents)
    dense.scatter_(1, top.indices, top.activations)
    return Values(torch.tensor(latents), dense[:, latents].view(CONTEXTS, SEQ, -1))


def random_values(latents: list[int], seed: int = 0) -> Values:
    generator = torch.Generator().manual_seed(seed)
    return Values(torch.tensor(latents), 3 * torch.rand(CONTEXTS, SEQ, 2, generator=generator))


def splices(coder: Coder) -> dict[Condition, Splice | None]:
    """One splice of each condition."""
    return {
        Condition.UNTOUCHED: None,
        Condition.REAL_LATENTS: real_latents(coder),
        Condition.ZERO: zero,
        Condition.MEAN: mean(torch.linspace(-1, 1, D_MODEL)),
        Condition.NO_LATENTS: no_latents(coder),
        Condition.SET_ZEROED: set_zeroed(coder, random_values([2, 5])),
        Condition.REWRITTEN: rewritten(coder, random_values([2, 5])),
    }


CODERS = {
    "skip transcoder": random_coder(),
    "transcoder": random_coder(skip=False),
    "sae": random_coder(transcode=False, skip=False),
}


@pytest.mark.parametrize("architecture", MLP)
def test_untouched_is_the_models_own_loss(architecture: str) -> None:
    # Position 0 is the beginning-of-sequence token: the prediction made from it does not count.
    own = tiny_subject(architecture).losses(TOKENS).double().numpy()
    np.testing.assert_allclose(losses(architecture, None), own[:, 1:].mean(1), rtol=1e-5)
    np.testing.assert_allclose(losses(architecture, None, Positions.LAST), own[:, -1], rtol=1e-5)


@pytest.mark.parametrize("architecture", MLP)
def test_every_condition_differs_from_every_other(architecture: str) -> None:
    found = [losses(architecture, splice) for splice in splices(CODERS["skip transcoder"]).values()]
    assert len(found) == len(Condition)
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("architecture", MLP)
@pytest.mark.parametrize("kind", CODERS)
def test_the_real_values_rewrite_nothing(
    kind: str, architecture: str, positions: Positions
) -> None:
    coder = CODERS[kind]
    every = real_values(architecture, coder, list(range(LATENTS)))
    np.testing.assert_allclose(
        losses(architecture, rewritten(coder, every), positions),
        losses(architecture, real_latents(coder), positions),
        rtol=1e-5,
    )


@pytest.mark.parametrize("architecture", MLP)
def test_zeros_everywhere_leave_no_latents(architecture: str) -> None:
    coder = CODERS["skip transcoder"]
    zeros = Values(torch.arange(LATENTS), torch.zeros(CONTEXTS, SEQ, LATENTS))
    np.testing.assert_allclose(
        losses(architecture, rewritten(coder, zeros)),
        losses(architecture, no_latents(coder)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("architecture", MLP)
def test_the_set_zeroed_is_the_set_rewritten_with_zeros(architecture: str) -> None:
    coder = CODERS["skip transcoder"]
    given = random_values([2, 5])
    given.activations[3, 2, 0] = NAN
    zeros = Values(given.latents, torch.where(given.activations.isnan(), NAN, 0.0))
    expected = losses(architecture, rewritten(coder, zeros))
    assert np.array_equal(losses(architecture, set_zeroed(coder, given)), expected)
    assert np.abs(expected - losses(architecture, rewritten(coder, given))).max() > 1e-4


@pytest.mark.parametrize("architecture", MLP)
def test_missing_values_stay_real(architecture: str) -> None:
    coder = CODERS["skip transcoder"]
    given = random_values([2, 5])
    given.activations[4] = NAN
    changed = losses(architecture, rewritten(coder, given))
    real = losses(architecture, real_latents(coder))
    assert changed[4] == pytest.approx(real[4], rel=1e-5)
    assert np.abs(changed - real)[[0, 1, 2, 3, 5, 6, 7, 8]].min() > 1e-6


@pytest.mark.parametrize("condition", [c for c in Condition if c is not Condition.UNTOUCHED])
@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("architecture", MLP)
def test_only_the_positions_meant_are_spliced(
    architecture: str, positions: Positions, condition: Condition
) -> None:
    subject = tiny_subject(architecture)
    layer = subject.model.base_model.get_submodule(subject.hookpoint.rpartition(".")[0])
    seen: list[Tensor] = []
    # The layer that the module is in puts out what the model goes on with.
    handle = layer.register_forward_hook(
        lambda _, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        splice = splices(CODERS["skip transcoder"])[condition]
        losses(architecture, None, positions, tokens=TOKENS[:2])
        losses(architecture, splice, positions, tokens=TOKENS[:2])
    finally:
        handle.remove()
    untouched, spliced = seen
    changed = (untouched != spliced).any(-1).any(0).tolist()
    # Seven tokens. Never the first (beginning of sequence), never the last (it predicts nothing).
    # "All" is 1 to 5, "last" the last of these.
    expected = range(1, 6) if positions is Positions.ALL else range(5, 6)
    assert [i for i, differs in enumerate(changed) if differs] == list(expected)


@pytest.mark.parametrize("architecture", MLP)
def test_last_changes_one_loss_only(architecture: str) -> None:
    subject = tiny_subject(architecture)
    heads: list[Tensor] = []
    head = subject.model.get_output_embeddings()
    assert isinstance(head, nn.Module)
    handle = head.register_forward_hook(lambda _, args, logits: heads.append(logits))
    try:
        before = losses(architecture, None, Positions.LAST, tokens=TOKENS[:4])
        after = losses(architecture, zero, Positions.LAST, tokens=TOKENS[:4])
    finally:
        handle.remove()
    assert np.abs(after - before).min() > 1e-6
    # Predictions from tokens 0 to 4 are as they were; the one from token 5 is not.
    assert torch.equal(heads[0][:, :5], heads[1][:, :5])
    assert not torch.equal(heads[0][:, 5], heads[1][:, 5])


def test_without_a_bos_token_the_first_position_is_spliced_too() -> None:
    everywhere = context_losses(
        tiny_subject(), TOKENS, zero, positions=Positions.ALL, first_position=0
    )
    with tiny_subject().replacing(lambda hooked: torch.zeros_like(hooked.output)):
        own = tiny_subject().losses(TOKENS).double().numpy()
    np.testing.assert_allclose(everywhere, own.mean(1), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(MLP)),
    st.sampled_from(Condition),
    st.sampled_from(Positions),
    st.lists(st.integers(0, CONTEXTS - 1), min_size=1, max_size=CONTEXTS, unique=True),
    st.integers(1, 10),
)
def test_batches_and_order_change_nothing(
    architecture: str, condition: Condition, positions: Positions, rows: list[int], batch_size: int
) -> None:
    splice = splices(CODERS["skip transcoder"])[condition]
    expected = losses(architecture, splice, positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "BATCH_SIZE", batch_size)
        found = losses(architecture, splice, positions, rows=rows)
    np.testing.assert_allclose(found, expected[rows], rtol=1e-4, atol=1e-5)


def test_no_rows_have_no_losses() -> None:
    assert losses("llama", zero, rows=[]).shape == (0,)


@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("architecture", MLP)
def test_changed_contexts_are_those_whose_loss_differs(
    architecture: str, positions: Positions
) -> None:
    coder = CODERS["skip transcoder"]
    real = real_values(architecture, coder, [2, 5])
    everywhere = Values(real.latents, real.activations + 4)
    one_token = Values(real.latents, real.activations.clone())
    one_token.activations[6, 5] += 4  # the last token that a prediction is made from
    one_token.activations[2, 3, 0] += 4  # seen only if all positions are spliced
    unseen = Values(real.latents, real.activations.clone())
    unseen.activations[:, 0] += 4  # the beginning of the sequence
    unseen.activations[:, -1] += 4  # the last token
    reference = real_latents(coder)
    candidates = [rewritten(coder, v) for v in (everywhere, one_token, unseen)]
    changed = changed_contexts(
        tiny_subject(architecture),
        TOKENS,
        candidates,
        reference,
        positions=positions,
        first_position=1,
    )
    assert changed[0] == list(range(CONTEXTS))
    assert changed[1] == ([2, 6] if positions is Positions.ALL else [6])
    assert changed[2] == []
    before = losses(architecture, reference, positions)
    for found, splice in zip(changed, candidates, strict=True):
        differs = np.abs(losses(architecture, splice, positions) - before) > 1e-6
        assert differs.nonzero()[0].tolist() == found


@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("architecture", MLP)
def test_losses_against_a_reference_are_those_of_a_whole_run(
    architecture: str, positions: Positions
) -> None:
    coder = CODERS["skip transcoder"]
    real = real_values(architecture, coder, [2, 5])
    real.activations[[1, 7], 5] = 4.0
    candidates = [rewritten(coder, real), set_zeroed(coder, real), zero]
    reference = real_latents(coder)
    before = losses(architecture, reference, positions)
    kept = before.copy()
    costs = losses_against(
        reference,
        before,
        tiny_subject(architecture),
        TOKENS,
        candidates,
        positions=positions,
        first_position=1,
    )
    assert costs[0].rows == [1, 7]
    assert costs[2].rows == list(range(CONTEXTS))
    for cost, splice in zip(costs, candidates, strict=True):
        np.testing.assert_allclose(
            cost.losses, losses(architecture, splice, positions), rtol=1e-4, atol=1e-5
        )
    assert np.array_equal(before, kept)
