"""Going on from the hookpoint is what a whole forward pass with a hook does."""

import pytest
import torch
from torch import Tensor
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
)

from interp.errors import InputError
from interp.resume import check_resuming, suspend
from interp.subject import Hooked, Subject
from tests.engine import (
    D_MODEL,
    LAYERS,
    MLP,
    SHAPE,
    VOCABULARY,
    random_tokens,
    tiny_subject,
    word_tokenizer,
)

CONTEXTS, SEQ = 3, 9
TOKENS = random_tokens(CONTEXTS, SEQ)
EVERY_ROW = torch.arange(CONTEXTS)

SPLICED = [slice(1, 8), slice(0, 8), slice(7, 8), slice(3, 6)]
"""All but the first and last, all but the last, the last that predicts, and some in the middle."""

HOOKPOINTS = [
    # The MLP and the whole layer (the residual stream), of the first, a middle and the last layer.
    *(
        (architecture, hookpoint.replace("1", str(layer)).removesuffix(suffix))
        for architecture, hookpoint in MLP.items()
        for layer in range(LAYERS)
        for suffix in ("", ".mlp")
    ),
    # Attentions, which put out tuples.
    ("llama", "layers.1.self_attn"),
    ("gpt_neox", "layers.1.attention"),
    ("gpt2", "h.1.attn"),
    # What is in no layer: below the first one, and above the last.
    ("llama", "embed_tokens"),
    ("gpt2", "drop"),
    ("gpt_neox", "final_layer_norm"),
    ("gemma", "norm"),
]


def whole(subject: Subject, where: slice, outputs: Tensor, tokens: Tensor = TOKENS) -> Tensor:
    """Logits of a whole forward pass with a hook that puts ``outputs`` in the module's place."""

    def replace(hooked: Hooked) -> Tensor:
        new = hooked.output.clone()
        new[:, where] = outputs
        return new

    with torch.inference_mode(), subject.replacing(replace):
        return subject.model(tokens, use_cache=False).logits[:, where]


def random_outputs(where: slice, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CONTEXTS, where.stop - where.start, D_MODEL, generator=generator)


@pytest.mark.parametrize("where", SPLICED, ids=str)
@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_resuming_is_a_whole_forward_with_a_hook(
    architecture: str, hookpoint: str, where: slice
) -> None:
    subject = tiny_subject(architecture, hookpoint)
    suspended = suspend(subject, TOKENS, where)
    own = subject.capture(TOKENS).output[:, where]
    torch.testing.assert_close(suspended.hooked.output, own, rtol=0, atol=1e-4)
    # Again and again on what was suspended once, and with any outputs.
    for outputs in (own, random_outputs(where), torch.zeros_like(own)):
        torch.testing.assert_close(
            suspended.resume_paths(EVERY_ROW, outputs),
            whole(subject, where, outputs),
            rtol=0,
            atol=1e-4,
        )


@pytest.mark.parametrize("where", SPLICED, ids=str)
@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_outputs_that_branch_off_are_each_a_whole_forward(
    architecture: str, hookpoint: str, where: slice
) -> None:
    # Two paths that part at their second position. Their nodes alternate in one sequence, so that
    # a node's place in the sequence is not its position in the context.
    subject = tiny_subject(architecture, hookpoint)
    length = where.stop - where.start
    first, second = random_outputs(where, 1), random_outputs(where, 2)
    second[:, 0] = first[:, 0]
    outputs = torch.stack([first, second], dim=2).flatten(1, 2)
    path = torch.arange(2 * length) % 2
    places = torch.arange(2 * length) // 2
    sees = (places[:, None] >= places) & (path[:, None] == path)
    # The second path's first node is the first's: its own is seen by none but itself.
    later = (path == 1) & (places > 0)
    sees[later, 0], sees[later, 1] = True, False
    found = suspend(subject, TOKENS, where).resume(
        EVERY_ROW,
        outputs,
        places.expand(CONTEXTS, -1),
        sees.expand(CONTEXTS, -1, -1),
    )
    for number, one in enumerate((first, second)):
        torch.testing.assert_close(
            found[:, path == number], whole(subject, where, one), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("architecture", MLP)
def test_a_context_may_come_in_any_row_and_more_than_once(architecture: str) -> None:
    subject = tiny_subject(architecture)
    where = SPLICED[0]
    rows = torch.tensor([2, 0, 2, 2, 1])
    outputs = torch.cat([random_outputs(where, 1), random_outputs(where, 2)])[:5]
    torch.testing.assert_close(
        suspend(subject, TOKENS, where).resume_paths(rows, outputs),
        whole(subject, where, outputs, TOKENS[rows]),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize("architecture", MLP)
def test_what_comes_after_the_spliced_positions_is_never_run(architecture: str) -> None:
    subject = tiny_subject(architecture)
    where = slice(3, 6)
    outputs = random_outputs(where)
    expected = suspend(subject, TOKENS, where).resume_paths(EVERY_ROW, outputs)
    lengths: list[int] = []
    handles = [
        subject.model.get_output_embeddings().register_forward_hook(
            lambda _, args, logits: lengths.append(logits.shape[1])
        ),
        subject.module.register_forward_hook(lambda _, args, out: lengths.append(out.shape[1])),
    ]
    try:
        other = TOKENS.clone()
        other[:, 6:] = 1
        found = suspend(subject, other, where).resume_paths(EVERY_ROW, outputs)
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(found, expected)
    # The module on the prefix, on the spliced positions, and on these once more; the head on these.
    assert lengths == [3, 3, 3, 3]


@pytest.mark.parametrize("architecture", MLP)
def test_layers_below_the_hookpoint_are_run_once_for_all(architecture: str) -> None:
    subject = tiny_subject(architecture, MLP[architecture].replace("1", "2"))
    suspended = suspend(subject, TOKENS, SPLICED[0])
    below = subject.model.base_model.get_submodule(MLP[architecture])
    called: list[Tensor] = []
    handle = below.register_forward_hook(lambda _, args, output: called.append(output))
    try:
        suspended.resume_paths(EVERY_ROW, random_outputs(SPLICED[0]))
        assert not called
        subject.model(TOKENS)
        assert called
    finally:
        handle.remove()


@pytest.mark.parametrize("architecture", MLP)
def test_the_model_is_left_as_it_was(architecture: str) -> None:
    subject = tiny_subject(architecture, MLP[architecture].replace("1", "2"))
    before = subject.losses(TOKENS)
    suspended = suspend(subject, TOKENS, SPLICED[0])
    outputs = random_outputs(SPLICED[0])
    suspended.resume_paths(EVERY_ROW, outputs)
    assert_as_it_was(subject, before)
    # Also where it fails: these outputs are too narrow for the layers above.
    with pytest.raises(RuntimeError):
        suspended.resume_paths(EVERY_ROW, outputs[..., :-1])
    assert_as_it_was(subject, before)
    with pytest.raises(IndexError):
        suspend(subject, TOKENS + VOCABULARY, SPLICED[0])
    assert_as_it_was(subject, before)


def assert_as_it_was(subject: Subject, losses: Tensor) -> None:
    for module in subject.model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert torch.equal(subject.losses(TOKENS), losses)


# --- Models that can and cannot be resumed ------------------------------------------------------


@pytest.mark.parametrize("first_position", [0, 1])
@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_these_models_are_accepted(architecture: str, hookpoint: str, first_position: int) -> None:
    subject = tiny_subject(architecture, hookpoint)
    check_resuming(subject, TOKENS, first_position=first_position)


def random_subject(model: PreTrainedModel, hookpoint: str) -> Subject:
    return Subject(
        model.eval().requires_grad_(False), word_tokenizer(), type(model).__name__, hookpoint
    )


def gpt_j() -> Subject:
    config = GPTJConfig(
        vocab_size=VOCABULARY,
        n_embd=D_MODEL,
        n_layer=3,
        n_head=2,
        rotary_dim=4,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.3,
    )
    return random_subject(GPTJForCausalLM(config), "h.1.mlp")


def test_layers_that_put_out_tuples_are_resumed() -> None:
    torch.manual_seed(0)
    subject = gpt_j()
    below: list[object] = []
    handle = subject.model.transformer.h[0].register_forward_hook(
        lambda _, args, output: below.append(output)
    )
    try:
        check_resuming(subject, TOKENS, first_position=1)
    finally:
        handle.remove()
    assert all(isinstance(output, tuple) for output in below)


def mistral(sliding_window: int) -> Subject:
    torch.manual_seed(0)
    config = MistralConfig(**SHAPE, num_key_value_heads=1, sliding_window=sliding_window)
    return random_subject(MistralForCausalLM(config), "layers.1.mlp")


@pytest.mark.parametrize("where", SPLICED, ids=str)
def test_a_context_longer_than_the_sliding_window_is_refused(where: slice) -> None:
    for check in (
        lambda subject: suspend(subject, TOKENS, where),
        lambda subject: check_resuming(subject, TOKENS, first_position=1),
    ):
        with pytest.raises(InputError, match=r"9 tokens long.*MistralFor.*the last 8 only.*most 8"):
            check(mistral(8))
        check(mistral(9))


def bloom() -> Subject:
    config = BloomConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        n_layer=3,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.3,
    )
    return random_subject(BloomForCausalLM(config), "h.1.mlp")


def mpt() -> Subject:
    config = MptConfig(
        vocab_size=VOCABULARY, d_model=D_MODEL, n_layers=3, n_heads=2, initializer_range=0.3
    )
    return random_subject(MptForCausalLM(config), "blocks.1.ffn")


def gpt_neo() -> Subject:
    config = GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        num_layers=3,
        num_heads=2,
        attention_types=[[["global", "local", "global"], 1]],
        window_size=4,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.3,
    )
    return random_subject(GPTNeoForCausalLM(config), "h.1.mlp")


def mamba() -> Subject:
    config = MambaConfig(
        vocab_size=VOCABULARY, hidden_size=D_MODEL, num_hidden_layers=3, initializer_range=0.3
    )
    return random_subject(MambaForCausalLM(config), "layers.1")


@pytest.mark.parametrize("make", [bloom, mpt, gpt_neo, mamba])
def test_a_model_that_cannot_be_resumed_is_refused(make: type[Subject]) -> None:
    # Bloom cannot take a mask of which node sees which. MPT and GPT-Neo can, but tell how far
    # tokens are apart by their places in the sequence: one path is right, two in one sequence are
    # not. Mamba has a state in place of keys and values.
    torch.manual_seed(0)
    subject = make()
    before = subject.losses(TOKENS)
    with pytest.raises(InputError, match=r"cannot be rewritten at .*not supported"):
        check_resuming(subject, TOKENS, first_position=1)
    assert_as_it_was(subject, before)
