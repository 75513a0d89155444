"""The subject model: captured at its hookpoint, stopped there, and replaced there."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from torch import Tensor, nn

from interp.errors import InputError
from interp.model.subject import Hooked, Subject, load_subject, output_head
from tests.engine import (
    D_MODEL,
    MLP,
    VOCABULARY,
    random_tokens,
    tiny_model,
    tiny_subject,
    word_tokenizer,
)

# An MLP, a whole layer (a residual stream), and an attention: its output is a tuple, and its
# input comes by name.
HOOKPOINTS = [
    *MLP.items(),
    ("llama", "layers.1"),
    ("gpt_neox", "layers.1"),
    ("gpt2", "h.1"),
    ("gemma", "layers.1"),
    ("llama", "layers.1.self_attn"),
    ("gpt_neox", "layers.1.attention"),
]
CPU = torch.device("cpu")


def hooked_by_hand(architecture: str, hookpoint: str, tokens: Tensor) -> Hooked:
    """What passes the hookpoint in a whole forward pass with plain PyTorch hooks."""
    model = tiny_model(architecture)
    module = model.base_model.get_submodule(hookpoint)
    seen: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]
    with torch.inference_mode():
        model(tokens)
    for handle in handles:
        handle.remove()
    return Hooked(*seen)


@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_capture_is_what_a_whole_forward_pass_shows(architecture: str, hookpoint: str) -> None:
    tokens = random_tokens(3, 7)
    expected = hooked_by_hand(architecture, hookpoint, tokens)
    captured = tiny_subject(architecture, hookpoint).capture(tokens)
    assert captured.input.shape == captured.output.shape == (3, 7, D_MODEL)
    assert torch.equal(captured.input, expected.input)
    assert torch.equal(captured.output, expected.output)
    assert not torch.equal(captured.input, captured.output)


@pytest.mark.parametrize(("architecture", "hookpoint"), MLP.items())
def test_nothing_above_the_hookpoint_is_run(architecture: str, hookpoint: str) -> None:
    subject = tiny_subject(architecture)
    layers = subject.model.base_model.get_submodule(hookpoint.split(".")[0])
    assert isinstance(layers, nn.ModuleList)
    called: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, module in [
            ("layer 0", layers[0]),
            ("layer 1", layers[1]),
            ("layer 2", layers[2]),
            ("head", subject.model.get_output_embeddings()),
        ]
    ]
    try:
        subject.capture(random_tokens(2, 5))
        assert called == ["layer 0", "layer 1"]
        called.clear()
        subject.losses(random_tokens(2, 5))
        assert called == ["layer 0", "layer 1", "layer 2", "head"]
    finally:
        for handle in handles:
            handle.remove()


def test_capture_leaves_no_hook_behind() -> None:
    subject = tiny_subject()
    before = subject.losses(random_tokens(2, 5))
    subject.capture(random_tokens(2, 5))
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in subject.model.modules()
    )
    assert torch.equal(subject.losses(random_tokens(2, 5)), before)


@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_replacing_with_its_own_output_changes_no_bit(architecture: str, hookpoint: str) -> None:
    subject = tiny_subject(architecture, hookpoint)
    tokens = random_tokens(3, 7)
    with torch.inference_mode():
        expected = subject.model(tokens).logits
        with subject.replacing(lambda hooked: hooked.output.clone()):
            assert torch.equal(subject.model(tokens).logits, expected)


@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_the_model_goes_on_with_what_replaces(architecture: str, hookpoint: str) -> None:
    subject = tiny_subject(architecture, hookpoint)
    tokens = random_tokens(3, 7)
    expected = hooked_by_hand(architecture, hookpoint, tokens)
    new = torch.randn(3, 7, D_MODEL, generator=torch.Generator().manual_seed(1))
    got: list[Hooked] = []
    before = subject.losses(tokens)
    with subject.replacing(lambda hooked: got.append(hooked) or new):
        replaced = subject.losses(tokens)
        # A second forward pass with the hook in place shows what the layers above were given.
        assert torch.equal(hooked_by_hand(architecture, hookpoint, tokens).output, new)
    assert torch.equal(got[0].input, expected.input)
    assert torch.equal(got[0].output, expected.output)
    assert (replaced - before).abs().max() > 1e-3
    assert torch.equal(subject.losses(tokens), before)


@pytest.mark.parametrize(
    ("architecture", "layer", "norm"),
    [
        ("llama", "layers.1", "post_attention_layernorm"),
        ("gemma", "layers.1", "pre_feedforward_layernorm"),
        ("gpt2", "h.1", "ln_2"),
    ],
)
def test_a_stream_between_attention_and_mlp_is_written_where_it_is_added_to(
    architecture: str, layer: str, norm: str
) -> None:
    subject = tiny_subject(architecture, f"{layer}.{norm}.input")
    new = torch.randn(3, 7, D_MODEL, generator=torch.Generator().manual_seed(1))
    module = subject.model.base_model.get_submodule(layer)
    with subject.overwriting(lambda _: new):
        found = tiny_subject_output(subject, layer)
    with torch.inference_mode():
        added = module.mlp(module.get_submodule(norm)(new))
        if architecture == "gemma":
            added = module.post_feedforward_layernorm(added)
    torch.testing.assert_close(found, new + added)


def tiny_subject_output(subject: Subject, layer: str) -> Tensor:
    """What a layer puts out."""
    other = Subject(subject.model, subject.tokenizer, subject.source, layer)
    return other.capture(random_tokens(3, 7)).output


@pytest.mark.parametrize(
    ("architecture", "norm", "gain"),
    [
        ("llama", "layers.1.post_attention_layernorm", lambda norm: norm.weight),
        ("gemma", "layers.1.pre_feedforward_layernorm", lambda norm: 1 + norm.weight),
        ("gpt2", "h.1.ln_2", lambda norm: norm.weight),
    ],
)
def test_what_is_normalised_is_read_before_the_gain(
    architecture: str, norm: str, gain: Callable[[Any], Tensor]
) -> None:
    model = copy.deepcopy(tiny_model(architecture))
    module = model.base_model.get_submodule(norm)
    module.weight.data.uniform_(0.5, 2.0)
    if getattr(module, "bias", None) is not None:
        module.bias.data.uniform_(-1, 1)
    tokens = random_tokens(3, 7)
    hookpoint = MLP[architecture]
    read = Subject(model, word_tokenizer(), "it", hookpoint, f"{norm}.normalised").capture(tokens)
    put_out = Subject(model, word_tokenizer(), "it", norm).capture(tokens).output
    bias = getattr(module, "bias", None)
    expected = read.input * gain(module) + (0 if bias is None else bias)
    torch.testing.assert_close(put_out, expected)
    assert (put_out - read.input).abs().max() > 0.1


def test_what_cannot_be_written_or_comes_too_late_is_refused() -> None:
    with pytest.raises(InputError, match="It can only be read"):
        tiny_subject("llama", "layers.1.input_layernorm.normalised")
    model = tiny_model("llama")
    subject = Subject(model, word_tokenizer(), "it", "layers.1.mlp", "layers.2")
    with pytest.raises(InputError, match="cannot write before it has read"):
        subject.capture(random_tokens(2, 5))
    subject = Subject(model, word_tokenizer(), "it", "layers.1.mlp", "layers.1.mlp.normalised")
    with pytest.raises(InputError, match="is no normalisation"):
        subject.capture(random_tokens(2, 5))


def test_a_replacement_that_fails_leaves_the_model_as_it_was() -> None:
    subject = tiny_subject()
    tokens = random_tokens(2, 5)
    before = subject.losses(tokens)

    def fail(_: Hooked) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), subject.replacing(fail):
        subject.losses(tokens)
    assert torch.equal(subject.losses(tokens), before)


@pytest.mark.parametrize("architecture", MLP)
def test_losses_are_the_cross_entropy(architecture: str) -> None:
    subject = tiny_subject(architecture)
    tokens = random_tokens(3, 6)
    with torch.inference_mode():
        logits = subject.model(tokens).logits.double().numpy()
    losses = subject.losses(tokens)
    assert losses.shape == (3, 5)
    for context in range(3):
        for position in range(5):
            # −log softmax of the next token: log Σ exp(z) − z(next).
            z = logits[context, position]
            expected = np.log(np.exp(z).sum()) - z[tokens[context, position + 1]]
            assert float(losses[context, position]) == pytest.approx(expected, abs=1e-5)


def test_a_wrong_hookpoint_is_refused_with_names_that_exist() -> None:
    with pytest.raises(InputError, match=r"no module 'layers\.9\.mlp'.*layers\.0"):
        tiny_subject(hookpoint="layers.9.mlp")


def test_a_hookpoint_that_is_never_called_is_refused() -> None:
    with pytest.raises(InputError, match=r"module 'layers' of tiny-llama is never called"):
        tiny_subject(hookpoint="layers").capture(random_tokens(1, 4))


def test_an_empty_hookpoint_is_refused() -> None:
    with pytest.raises(InputError, match="no module ''"):
        tiny_subject(hookpoint="")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_is_loaded(checkpoint: Path) -> None:
    subject = load_subject(str(checkpoint), "layers.1.mlp", device=CPU)
    tokens = random_tokens(2, 6)
    assert torch.equal(subject.losses(tokens), tiny_subject().losses(tokens))
    assert subject.d_model == D_MODEL
    assert output_head(subject.model).shape == (VOCABULARY, D_MODEL)
    assert not any(p.requires_grad for p in subject.model.parameters())
    assert subject.tokenizer("w3 w4").input_ids[-2:] == [3, 4]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be loaded: .*\n?.*Give a folder"):
        load_subject(str(tmp_path), "layers.1.mlp", device=CPU)


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_a_damaged_folder_is_refused(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_subject(str(tmp_path), "layers.1.mlp", device=CPU)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A whole GGUF file with two tensors."""
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((64, 32), np.float32))
    writer.add_tensor("output.weight", np.ones((64, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kept", [0, 10, 100, 0.5, 0.99])
def test_a_gguf_file_cut_short_is_refused(gguf: Path, kept: float) -> None:
    whole = gguf.read_bytes()
    gguf.write_bytes(whole[: int(kept * len(whole) if kept < 1 else kept)])
    with pytest.raises(InputError, match=r"tiny\.gguf is (not a whole GGUF file|cut short)"):
        load_subject(str(gguf), "layers.1.mlp", device=CPU)


def test_a_whole_gguf_file_is_not_called_cut_short(gguf: Path) -> None:
    # It lacks everything else that makes a model, and that is what is said.
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        load_subject(str(gguf), "layers.1.mlp", device=CPU)
    assert "cut short" not in str(raised.value)


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*gone\.gguf"):
        load_subject(str(tmp_path / "gone.gguf"), "layers.1.mlp", device=CPU)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"certainly not a model" * 100)
    with pytest.raises(InputError, match="not a whole GGUF file"):
        load_subject(str(tmp_path / "x.gguf"), "layers.1.mlp", device=CPU)
