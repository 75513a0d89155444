"""Losses and divergences that are worked out on paper."""

from collections.abc import Callable
from math import log
from typing import NamedTuple

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from interp.model.subject import Subject
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import (
    Splice,
    Values,
    mean,
    no_latents,
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
from interp.vocabulary import Protocol
from tests.engine import (
    hand_coder,
    word_tokenizer,
)

# A language of two tokens, A and B. The model embeds A as (1, 0) and B as (0, 1); its attention
# adds nothing, its norms change nothing, and its logits are ln 2 times the two numbers that come
# out of the last layer. So all that counts is how far the second number is above the first, the
# *gap* g: B follows with odds 2^g to 1, and
#
#   loss if A follows = ln(1 + 2^g)      loss if B follows = ln(1 + 2^−g)
#
# The MLP at the hookpoint puts out (0, 2) for A and (4, 0) for B; its mean is (2, 1). The layer
# above does nothing.
#
# A transcoder of two latents, k = 1, reads (1, 0) or (0, 1). For A the latents are (3, 1), and
# latent 0 is on top at 3; for B they are (1, 3), and latent 1 is. Latent 0 writes (0, 1) and
# latent 1 writes (1, 0). The bias is (1, 0); the skip connection adds (0, 2) to either.
#
# Latent 0 alone, or latents 0 and 1, are simulated: on A as (2, 0), on B as (4, 0). So latent 0 is
# right but weak on A, and a false positive on B that drives latent 1 out; latent 1 is missed on B.
#
# What the module puts out, the sum with the embedding, and the gap:
#
#                          on A                            on B
#   untouched              (0, 2)         → (1, 2)   1     (4, 0)         → (4, 1)  −3
#   real latents           3·(0,1)+(1,2)  → (2, 5)   3     3·(1,0)+(1,2)  → (4, 3)  −1
#   zero                   (0, 0)         → (1, 0)  −1     (0, 0)         → (0, 1)   1
#   mean                   (2, 1)         → (3, 1)  −2     (2, 1)         → (2, 2)   0
#   resample, of A alone   (0, 2)         → (1, 2)   1     (0, 2)         → (0, 3)   3
#   no latents             (1, 2)         → (2, 2)   0     (1, 2)         → (1, 3)   2
#   latent 0
#     zeroed               as no latents             0     latent 1 stays at 3      −1
#     rewritten            2·(0,1)+(1,2)  → (2, 4)   2     4·(0,1)+(1,2)  → (1, 7)   6
#     oracle gating        as rewritten: active      2     not active: latent 1     −1
#     oracle values        its true 3                3     its true 0: latent 1     −1
#     random (always 1)    1·(0,1)+(1,2)  → (2, 3)   1     not active: latent 1     −1
#     zeroed, error kept   (0,2)−3·(0,1)  → (1, −1) −2     as untouched             −3
#     rewritten, kept      (0,2)−1·(0,1)  → (1, 1)   0     (4,0)+(−3,4)   → (1, 5)   4
#   latents 0 and 1
#     zeroed               as no latents             0     as no latents             2
#     rewritten            as above                  2     as above                  6
#     oracle gating        as rewritten              2     latent 1 at its 0         2
#     oracle values        its true 3                3     0 at its true 0, 1 missed 2
#     zeroed, error kept   as above                 −2     (4,0)−3·(1,0)  → (1, 1)   0
#     rewritten, kept      as above                  0     as above                  4
#
# The contexts are "A B A" and "B A B": A is always followed by B, and B by A. So the losses are
#
#   on A   ln(1 + 2^−g)   untouched ln 3/2, real ln 9/8, zero ln 3, mean ln 5, no latents ln 2, …
#   on B   ln(1 + 2^g)    untouched ln 9/8, real ln 3/2, zero ln 3, mean ln 2, no latents ln 5, …
#
# In the *whole* protocol, the first two tokens of both contexts are spliced, one A and one B: the
# loss is the mean of the two. In the *paper* protocol, only the second one is: B in the first
# context, A in the second.
#
# The untouched model gives B the odds 2 to 1 after A, probabilities (⅓, ⅔), and A the odds 8 to 1
# after B, probabilities (8/9, 1/9). Its divergence from the others is Σ p ln (p / q):
#
#   real     A: q = (1/9, 8/9)  ⅓ ln 3 + ⅔ ln ¾          B: q = (⅔, ⅓)  8/9 ln 4/3 + 1/9 ln ⅓
#   zero     A: q = (⅔, ⅓)      ⅓ ln ½ + ⅔ ln 2          B: q = (⅓, ⅔)  8/9 ln 8/3 + 1/9 ln 1/6
#   and so on.

A, B = 0, 1
AB = torch.tensor([[A, B, A], [B, A, B]])


def hand_model() -> Subject:
    """The model of the comment above: a Llama whose weights are set by hand."""
    config = LlamaConfig(
        vocab_size=2,
        hidden_size=2,
        intermediate_size=2,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        # The MLP puts out W (x · relu(x)), which on (1, 0) and (0, 1) is W x.
        hidden_act="relu",
        # x · 10⁶ / √(mean x² + 10¹²) is x, to the last digit of single precision.
        rms_norm_eps=1e12,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    model.model.embed_tokens.weight.copy_(torch.eye(2))
    model.lm_head.weight.copy_(log(2) * torch.eye(2))
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.gate_proj.weight.copy_(torch.eye(2))
        layer.mlp.up_proj.weight.copy_(torch.eye(2))
        layer.mlp.down_proj.weight.zero_()
        layer.input_layernorm.weight.fill_(1e6)
        layer.post_attention_layernorm.weight.fill_(1e6)
    model.model.norm.weight.fill_(1e6)
    model.model.layers[0].mlp.down_proj.weight.copy_(torch.tensor([[0.0, 4], [2, 0]]))
    return Subject(model, word_tokenizer(bos=None), "by hand", "layers.0.mlp")


HAND_CODER = hand_coder([[3, 1], [1, 3]], [[0, 1], [1, 0]], k=1, bias=[1, 0], skip=[[0, 0], [2, 2]])


class Gap(NamedTuple):
    """How far the logit of B is above that of A, in units of ln 2."""

    a: int
    """On A."""
    b: int
    """On B."""


def simulated(latents: list[int], protocol: Protocol) -> Values:
    """On A (2, 0), on B (4, 0): one row a spliced token."""
    told = torch.tensor([[2.0, 0], [4, 0]])[AB][..., latents]
    return Values.of(torch.tensor(latents), told[:, protocol.spliced(3, 0)])


BY_HAND: list[tuple[str, Callable[[Protocol], Splice], Gap]] = [
    ("untouched", lambda _: untouched, Gap(1, -3)),
    ("real latents", lambda _: real_latents, Gap(3, -1)),
    ("zero", lambda _: zero, Gap(-1, 1)),
    ("mean", lambda _: mean(torch.tensor([2.0, 1.0])), Gap(-2, 0)),
    ("resample", lambda _: resample(torch.tensor([[0.0, 2.0]]), seed=0), Gap(1, 3)),
    ("no latents", lambda _: no_latents, Gap(0, 2)),
    ("0 zeroed", lambda p: set_zeroed(simulated([0], p)), Gap(0, -1)),
    ("0 rewritten", lambda p: rewritten(simulated([0], p)), Gap(2, 6)),
    ("0 oracle gating", lambda p: oracle_gating(simulated([0], p)), Gap(2, -1)),
    ("0 oracle values", lambda p: oracle_values(simulated([0], p)), Gap(3, -1)),
    (
        "0 random",
        lambda p: random_latents(simulated([0], p), torch.tensor([[1.0, 1.0]]), seed=0),
        Gap(1, -1),
    ),
    ("0 zeroed, error kept", lambda p: set_zeroed_error_kept(simulated([0], p)), Gap(-2, -3)),
    ("0 rewritten, error kept", lambda p: rewritten_error_kept(simulated([0], p)), Gap(0, 4)),
    ("0 and 1 zeroed", lambda p: set_zeroed(simulated([0, 1], p)), Gap(0, 2)),
    ("0 and 1 rewritten", lambda p: rewritten(simulated([0, 1], p)), Gap(2, 6)),
    ("0 and 1 oracle gating", lambda p: oracle_gating(simulated([0, 1], p)), Gap(2, 2)),
    ("0 and 1 oracle values", lambda p: oracle_values(simulated([0, 1], p)), Gap(3, 2)),
    ("both zeroed, error kept", lambda p: set_zeroed_error_kept(simulated([0, 1], p)), Gap(-2, 0)),
    (
        "both rewritten, error kept",
        lambda p: rewritten_error_kept(simulated([0, 1], p)),
        Gap(0, 4),
    ),
]


def divergence(p_of_b: float, gap: int) -> float:
    q_of_b = 2**gap / (1 + 2**gap)
    return (1 - p_of_b) * log((1 - p_of_b) / (1 - q_of_b)) + p_of_b * log(p_of_b / q_of_b)


@pytest.mark.parametrize(("name", "make", "gap"), BY_HAND, ids=[name for name, *_ in BY_HAND])
def test_losses_and_divergences_by_hand(
    name: str, make: Callable[[Protocol], Splice], gap: Gap
) -> None:
    on_a, on_b = log(1 + 2**-gap.a), log(1 + 2**gap.b)
    kl_a, kl_b = divergence(2 / 3, gap.a), divergence(1 / 9, gap.b)
    expected = {
        Protocol.WHOLE: ([(on_a + on_b) / 2] * 2, [(kl_a + kl_b) / 2] * 2),
        Protocol.PAPER: ([on_b, on_a], [kl_b, kl_a]),
    }
    for protocol, (losses, kls) in expected.items():
        found = evaluate(
            hand_model(), HAND_CODER, AB, [make(protocol)], protocol=protocol, first_position=0
        )
        assert found.loss[0] == pytest.approx(losses, abs=1e-6)
        assert found.kl[0] == pytest.approx(kls, abs=1e-6)


def test_some_of_them_written_out() -> None:
    # The formulas above, as numbers: what a mistake in both the gaps and the helper would pass.
    splices = [untouched, real_latents, zero, rewritten(simulated([0], Protocol.WHOLE))]
    found = evaluate(
        hand_model(), HAND_CODER, AB, splices, protocol=Protocol.WHOLE, first_position=0
    )
    # ½ (ln 3/2 + ln 9/8), ½ (ln 9/8 + ln 3/2), ½ (ln 3 + ln 3), ½ (ln 5/4 + ln 65)
    assert found.loss[:, 0] == pytest.approx([0.261624, 0.261624, 1.098612, 2.198765], abs=1e-6)
    # Real: ½ (⅓ ln 3 + ⅔ ln ¾ + 8/9 ln 4/3 + 1/9 ln ⅓). Zero: ½ (⅓ ln ½ + ⅔ ln 2 + 8/9 ln 8/3 +
    # 1/9 ln 1/6). Rewritten, with q = (1/5, 4/5) and (1/65, 64/65):
    # ½ (⅓ ln 5/3 + ⅔ ln 5/6 + 8/9 ln 520/9 + 1/9 ln 65/576)
    assert found.kl[:, 0] == pytest.approx([0, 0.154033, 0.451906, 1.706092], abs=1e-6)
    # The two protocols see different tokens: in the first context B is last, in the second A.
    last = evaluate(
        hand_model(), HAND_CODER, AB, [real_latents], protocol=Protocol.PAPER, first_position=0
    )
    assert last.loss[0] == pytest.approx([log(3 / 2), log(9 / 8)], abs=1e-6)
