"""Models that can be measured are, to a hundred-thousandth of a nat; others are refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from interp.errors import InputError
from interp.model.subject import Hooked, Subject
from interp.rewriting.admission import can_resume
from interp.rewriting.attribution import attribute
from interp.rewriting.evaluate import TREE_NODES, evaluate
from interp.rewriting.splice import Site, Splice, Values, untouched, zero
from interp.vocabulary import Protocol
from tests.engine import (
    D_MODEL,
    HOOKPOINTS,
    SHAPE,
    VOCABULARY,
    random_coder,
    random_tokens,
    tiny_subject,
    word_tokenizer,
)

CONTEXTS, SEQ = 3, 22
NEAR = 1e-5
"""Nats between a stored loss and a plain forward's."""

# Weights are drawn wide enough for what a layer sees to matter, and losses stay a few nats.
SPREAD = {"initializer_range": 0.15}
ENDS = {"bos_token_id": None, "eos_token_id": None}
LLAMA_LIKE = {**SHAPE, **SPREAD, "num_key_value_heads": 1}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
NEO = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "num_layers": 4,
    "num_heads": 2,
    "attention_types": [[["global", "local"], 2]],
    "max_position_embeddings": 64,
    **SPREAD,
    **ENDS,
}
SLIDING, FULL, CHUNKED = "sliding_attention", "full_attention", "chunked_attention"


def mistral(window: int | None) -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**LLAMA_LIKE, sliding_window=window))


def gpt_neo(window: int) -> PreTrainedModel:
    return GPTNeoForCausalLM(GPTNeoConfig(**NEO, window_size=window))


def gemma_3(window: int) -> PreTrainedModel:
    types = [SLIDING, FULL, SLIDING]
    config = {**LLAMA_LIKE, "head_dim": 8, "sliding_window": window, "layer_types": types}
    return Gemma3ForCausalLM(Gemma3TextConfig(**config))


def qwen_2(**changes: Any) -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**LLAMA_LIKE, **changes))


def qwen_2_moe(**changes: Any) -> PreTrainedModel:
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**LLAMA_LIKE, **EXPERTS, **changes))


def llama_4(chunk: int) -> PreTrainedModel:
    config = Llama4TextConfig(
        **{**LLAMA_LIKE, "intermediate_size_mlp": 32, "head_dim": 8},
        num_local_experts=2,
        num_experts_per_tok=1,
        attention_chunk_size=chunk,
        layer_types=[CHUNKED, FULL, CHUNKED],
        no_rope_layers=[1, 0, 1],
    )
    return Llama4ForCausalLM(config)


def starcoder_2(window: int) -> PreTrainedModel:
    return Starcoder2ForCausalLM(Starcoder2Config(**LLAMA_LIKE, sliding_window=window))


def gpt_j() -> PreTrainedModel:
    config = GPTJConfig(
        vocab_size=VOCABULARY, n_embd=D_MODEL, n_layer=3, n_head=2, rotary_dim=4, **ENDS, **SPREAD
    )
    return GPTJForCausalLM(config)


def opt(positions: int = 64) -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        word_embed_proj_dim=D_MODEL,
        ffn_dim=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=positions,
        init_std=0.15,
        **ENDS,
        pad_token_id=1,
    )
    return OPTForCausalLM(config)


def bloom() -> PreTrainedModel:
    config = BloomConfig(
        vocab_size=VOCABULARY, hidden_size=D_MODEL, n_layer=3, n_head=2, **ENDS, **SPREAD
    )
    return BloomForCausalLM(config)


def of_type(name: str, **settings: object) -> PreTrainedModel:
    """A model by its type, with the settings of Llama where it knows them."""
    shape = {**LLAMA_LIKE, "head_dim": 8, "pad_token_id": None, **ENDS, **settings}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **shape))


def mpt() -> PreTrainedModel:
    config = MptConfig(vocab_size=VOCABULARY, d_model=D_MODEL, n_layers=3, n_heads=2, **SPREAD)
    return MptForCausalLM(config)


def mamba() -> PreTrainedModel:
    config = MambaConfig(
        vocab_size=VOCABULARY, hidden_size=D_MODEL, num_hidden_layers=3, initializer_range=0.3
    )
    return MambaForCausalLM(config)


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    # A window as long as the contexts, shorter ones, and one of a single position.
    **{f"Mistral {w}": (lambda w=w: mistral(w), "layers.1.mlp") for w in (None, SEQ, 8, 3, 1)},
    "Starcoder 2": (lambda: starcoder_2(5), "layers.1.mlp"),
    **{f"GPT-Neo {w}": (lambda w=w: gpt_neo(w), "h.1.mlp") for w in (256, 4, 2)},
    "GPT-Neo first layer": (lambda: gpt_neo(4), "h.0.mlp"),
    "GPT-Neo residual stream": (lambda: gpt_neo(4), "h.2"),
    "Gemma 3": (lambda: gemma_3(4), "layers.0.mlp"),
    "Gemma 3 middle layer": (lambda: gemma_3(4), "layers.1.mlp"),
    "Gemma 3 embedding": (lambda: gemma_3(4), "embed_tokens"),
    # Switched off, whatever window is named.
    "Qwen 2 off": (lambda: qwen_2(use_sliding_window=False, sliding_window=3), "layers.1.mlp"),
    "Qwen 2 on": (
        lambda: qwen_2(use_sliding_window=True, sliding_window=3, max_window_layers=1),
        "layers.0.mlp",
    ),
    "Qwen 2 MoE off": (lambda: qwen_2_moe(use_sliding_window=False), "layers.1.mlp"),
    "Qwen 2 MoE 0": (
        lambda: qwen_2_moe(use_sliding_window=False, sliding_window=0),
        "layers.1.mlp",
    ),
    "Qwen 2 MoE None": (
        lambda: qwen_2_moe(use_sliding_window=False, sliding_window=None),
        "layers.1.mlp",
    ),
    "Qwen 2 MoE on": (
        lambda: qwen_2_moe(use_sliding_window=True, sliding_window=3),
        "layers.0.mlp",
    ),
    "Llama 4": (lambda: llama_4(4), "model.layers.0"),
    # Others that people bring, at sites of coders for them.
    **{
        f"{name} {hookpoint}": (lambda name=name, more=more: of_type(name, **more), hookpoint)
        for name, more, hookpoints in (
            ("qwen3", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid")),
            ("gemma", {}, ("blocks.1.hook_mlp_out", "blocks.1.attn.hook_z")),
            (
                "gemma2",
                {"sliding_window": 4},
                ("blocks.1.hook_mlp_out", "blocks.0.hook_resid_mid", "blocks.1.hook_attn_out"),
            ),
            ("olmo", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid")),
            ("olmo2", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid")),
            ("phi", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_post")),
            ("phi3", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_pre")),
            ("gpt_neox", {}, ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_pre")),
            (
                "mixtral",
                {"num_local_experts": 4, "num_experts_per_tok": 2},
                ("blocks.1.hook_mlp_out",),
            ),
            ("qwen3_moe", {**EXPERTS, "decoder_sparse_step": 1}, ("blocks.1.hook_mlp_out",)),
        )
        for hookpoint in hookpoints
    },
    "GPT-J": (gpt_j, "h.1.mlp"),
    "OPT": (opt, "decoder.layers.1"),
}


@cache
def subject_of(name: str) -> Subject:
    make, hookpoint = MODELS[name]
    return random_subject(make, hookpoint)


def random_subject(make: Callable[[], PreTrainedModel], hookpoint: str) -> Subject:
    torch.manual_seed(0)
    model = make().eval().requires_grad_(False)
    return Subject(model, word_tokenizer(), type(model).__name__, hookpoint)


def plain(subject: Subject, tokens: Tensor, splice: Splice, where: slice) -> np.ndarray:
    """Losses of whole forwards with a hook, one context after another."""
    losses = []
    for number, row in enumerate(tokens):

        def put(hooked: Hooked, number: int = number) -> Tensor:
            site = Site(random_coder(), Hooked(hooked.input[:, where], hooked.output[:, where]))
            output = hooked.output.clone()
            output[:, where] = splice(site, torch.tensor([number]))
            return output

        with subject.replacing(put):
            losses.append(subject.losses(row[None])[0, where].double().mean())
    return torch.stack(losses).numpy()


def scaled(seed: int, alike: int) -> Splice:
    """The module's output, scaled at random from a position on."""

    def splice(site: Site, rows: Tensor) -> Tensor:
        output = site.hooked.output.clone()
        generator = torch.Generator().manual_seed(seed)
        scales = torch.rand(output.shape[1], generator=generator) * 2
        output[:, alike:] *= scales[alike:, None]
        return output

    return splice


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_of_plain_forwards(name: str, protocol: Protocol) -> None:
    subject, tokens = subject_of(name), random_tokens(CONTEXTS, SEQ)
    where = protocol.spliced(SEQ, 1)
    # More nodes than the model's windows and tables are long, and than a tree holds.
    splices = [
        scaled(seed, seed % 3) for seed in range(TREE_NODES // (where.stop - where.start) + 4)
    ]
    found = evaluate(
        subject,
        random_coder(),
        tokens,
        splices,
        protocol=protocol,
        first_position=1,
    )
    for splice in (0, 1, len(splices) // 2, len(splices) - 1):
        expected = plain(subject, tokens, splices[splice], where)
        np.testing.assert_allclose(found.loss[splice], expected, rtol=0, atol=NEAR)


@pytest.mark.parametrize("name", MODELS)
def test_models_with_such_losses_are_accepted(name: str) -> None:
    tokens = random_tokens(CONTEXTS, SEQ)
    assert can_resume(subject_of(name), random_coder(), tokens, first_position=1)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["Mistral 3", "GPT-Neo 4", "Gemma 3", "Qwen 2 MoE on", "Llama 4"]),
    st.integers(3, 40),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 40)), min_size=1, max_size=40),
    st.integers(0, 1),
    st.sampled_from(Protocol),
)
def test_any_number_of_splices_of_contexts_of_any_length(
    name: str,
    seq: int,
    which: list[tuple[int, int]],
    first_position: int,
    protocol: Protocol,
) -> None:
    subject, tokens = subject_of(name), random_tokens(2, seq)
    where = protocol.spliced(seq, first_position)
    splices = [scaled(seed, alike % (where.stop - where.start)) for seed, alike in which]
    found = evaluate(
        subject,
        random_coder(),
        tokens,
        splices,
        protocol=protocol,
        first_position=first_position,
        divergence=False,
    )
    expected = plain(subject, tokens, splices[-1], where)
    np.testing.assert_allclose(found.loss[-1], expected, rtol=0, atol=NEAR)


@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_any_hookpoint_is_accepted(architecture: str, hookpoint: str) -> None:
    subject = tiny_subject(architecture, hookpoint)
    first_position = int(hookpoint.endswith("mlp"))
    assert can_resume(subject, random_coder(), random_tokens(2, 9), first_position=first_position)


def test_layers_that_put_out_tuples_are_resumed() -> None:
    subject = random_subject(gpt_j, "h.1.mlp")
    below: list[object] = []
    handle = subject.model.transformer.h[0].register_forward_hook(
        lambda _, args, output: below.append(output)
    )
    try:
        assert can_resume(subject, random_coder(), random_tokens(3, 9), first_position=1)
    finally:
        handle.remove()
    assert below and all(isinstance(output, tuple) for output in below)


@pytest.mark.parametrize(
    ("make", "hookpoint"),
    [(bloom, "h.1.mlp"), (mpt, "blocks.1.ffn"), (mamba, "layers.1")],
)
def test_a_model_that_cannot_be_resumed_is_run_whole(
    make: Callable[[], PreTrainedModel], hookpoint: str
) -> None:
    # Bloom cannot take a mask of which node sees which. MPT can, but tells how far tokens are apart
    # by their places in the sequence. Mamba has a state in place of keys and values.
    subject = random_subject(make, hookpoint)
    tokens = random_tokens(4, 9)
    before = subject.losses(tokens)
    assert not can_resume(subject, random_coder(), tokens, first_position=1)
    for module in subject.model.modules():
        assert "forward" not in vars(module) and not module._forward_hooks
    assert torch.equal(subject.losses(tokens), before)

    subject = replace(subject, resumable=False)
    splices = [*(scaled(seed, alike) for seed in range(3) for alike in (0, 4)), zero, untouched]
    for protocol in Protocol:
        where = protocol.spliced(9, 1)
        found = evaluate(
            subject, random_coder(), tokens, splices, protocol=protocol, first_position=1
        )
        expected = np.stack([plain(subject, tokens, splice, where) for splice in splices])
        np.testing.assert_allclose(found.loss, expected, rtol=0, atol=NEAR)
        assert (found.kl[:-1] > 0).any(0).all() and (found.kl[-1] == 0).all()


def test_running_whole_gives_what_resuming_does() -> None:
    subject = tiny_subject("gemma")
    slow = replace(subject, resumable=False)
    coder, tokens = random_coder(), random_tokens(5, 9)
    splices = [*(scaled(seed, 3) for seed in range(4)), zero, untouched]
    values = Values.of(
        torch.tensor([1, 5]), torch.rand(5, 7, 2, generator=torch.Generator().manual_seed(0))
    )
    run = {"protocol": Protocol.WHOLE, "first_position": 1}
    quick, whole = (evaluate(one, coder, tokens, splices, **run) for one in (subject, slow))
    np.testing.assert_allclose(whole.loss, quick.loss, rtol=0, atol=NEAR)
    np.testing.assert_allclose(whole.kl, quick.kl, rtol=0, atol=NEAR)
    quick, whole = (attribute(one, coder, tokens, values, **run) for one in (subject, slow))
    for name, effects in quick.effects.items():
        np.testing.assert_allclose(whole.effects[name], effects, rtol=0, atol=NEAR)


@pytest.mark.parametrize("name", ["GPT-Neo 4", "Gemma 3", "Mistral 3"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    subject, tokens = subject_of(name), random_tokens(3, 9)
    before = subject.losses(tokens)
    buffers = dict(subject.model.named_buffers())
    assert can_resume(subject, random_coder(), tokens, first_position=1)
    assert torch.equal(subject.losses(tokens), before)
    assert all(one is buffers[name] for name, one in subject.model.named_buffers())
    for module in subject.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_window_that_the_tree_would_ignore_is_not_small() -> None:
    """What these tests hold apart: without the window the losses are others by far."""
    tokens = random_tokens(CONTEXTS, SEQ)
    for narrow, wide in (("Mistral 3", "Mistral None"), ("GPT-Neo 4", "GPT-Neo 256")):
        one, other = subject_of(narrow), replace(subject_of(wide))
        other.model.load_state_dict(one.model.state_dict())
        assert (one.losses(tokens) - other.losses(tokens)).abs().max() > 100 * NEAR


# --- Tokens that the model cannot read -----------------------------------------------------------


def gpt_2(positions: int) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=D_MODEL, n_layer=3, n_head=2, n_positions=positions, **ENDS
    )
    return GPT2LMHeadModel(config)


@pytest.mark.parametrize(
    ("make", "hookpoint"),
    [
        (gpt_2, "h.1.mlp"),
        (lambda n: GPTNeoForCausalLM(GPTNeoConfig(**{**NEO, "max_position_embeddings": n})), "h.1"),
        (opt, "decoder.layers.1"),
    ],
)
def test_contexts_beyond_the_last_position_are_refused_with_numbers(
    make: Callable[[int], PreTrainedModel], hookpoint: str
) -> None:
    subject = random_subject(lambda: make(8), hookpoint)
    for seq in (7, 8):
        assert can_resume(subject, random_coder(), random_tokens(2, seq), first_position=1)
    tokens = random_tokens(2, 9)
    for work in (
        lambda: subject.capture(tokens),
        lambda: can_resume(subject, random_coder(), tokens, first_position=1),
    ):
        with pytest.raises(InputError, match=r"9 tokens long.*positions for 8.*at most 8"):
            work()


def test_rotary_models_have_no_last_position() -> None:
    subject = tiny_subject("llama")
    longer = random_tokens(1, subject.model.config.max_position_embeddings + 2)
    subject.check_tokens(longer)


def test_tokens_without_an_embedding_are_refused_with_numbers() -> None:
    tokens = random_tokens(2, 9)
    tokens[1, 4] = VOCABULARY + 7
    for work in (
        lambda: tiny_subject().capture(tokens),
        lambda: can_resume(tiny_subject(), random_coder(), tokens, first_position=1),
    ):
        with pytest.raises(InputError, match=r"the number 57.*embeddings for 50 tokens"):
            work()


def test_a_model_whose_losses_are_no_numbers_is_refused() -> None:
    subject = random_subject(lambda: mistral(None), "layers.1.mlp")
    subject.model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(InputError, match=r"not a number \(NaN\).*weights"):
        assert can_resume(subject, random_coder(), random_tokens(2, 9), first_position=1)
