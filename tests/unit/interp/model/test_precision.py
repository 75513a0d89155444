"""Subjects in half precision, and subjects whose layers are on several devices."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from interp.coders.capture import collect
from interp.errors import InputError
from interp.model.subject import Subject, load_subject, output_head, torch_dtype
from interp.rewriting import checks
from interp.rewriting.admission import can_resume
from interp.rewriting.attribution import attribute
from interp.rewriting.checks import Setting, tolerance
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import Values, real_latents, rewritten, untouched, zero
from interp.vocabulary import Dtype, Outcome, Protocol
from tests.engine import (
    D_MODEL,
    MLP,
    SHAPE,
    VOCABULARY,
    random_coder,
    random_tokens,
    tiny_model,
    word_tokenizer,
)

HALVES = [torch.bfloat16, torch.float16]
CPU = torch.device("cpu")
TOKENS = random_tokens(4, 16)
RUN: dict[str, Any] = {"protocol": Protocol.WHOLE, "first_position": 1}
VALUES = Values.of(
    torch.tensor([1, 5]), torch.rand(4, 14, 2, generator=torch.Generator().manual_seed(0))
)
SPLICES = [untouched, real_latents, zero, rewritten(VALUES)]


def in_dtype(architecture: str, dtype: torch.dtype) -> Subject:
    model = copy.deepcopy(tiny_model(architecture)).to(dtype)
    return Subject(model, word_tokenizer(), f"tiny-{architecture}", MLP[architecture])


@pytest.mark.parametrize("architecture", MLP)
@pytest.mark.parametrize("dtype", HALVES)
def test_resuming_in_half_precision_is_a_whole_forward(
    architecture: str, dtype: torch.dtype
) -> None:
    subject, coder = in_dtype(architecture, dtype), random_coder()
    assert subject.dtype == dtype
    assert can_resume(subject, coder, TOKENS, first_position=1)

    found = evaluate(subject, coder, TOKENS, SPLICES, **RUN)
    subject.resumable = False
    whole = evaluate(subject, coder, TOKENS, SPLICES, **RUN)
    near = {"rtol": 0, "atol": tolerance(dtype) / 4}
    np.testing.assert_allclose(found.loss, whole.loss, **near)
    np.testing.assert_allclose(found.kl, whole.kl, **near)
    plain = subject.losses(TOKENS)[:, Protocol.WHOLE.spliced(16, 1)]
    assert plain.dtype == torch.float32
    np.testing.assert_allclose(whole.loss[0], plain.double().mean(1).numpy(), **near)

    exact = evaluate(in_dtype(architecture, torch.float32), coder, TOKENS, SPLICES, **RUN)
    np.testing.assert_allclose(found.loss, exact.loss, rtol=0, atol=tolerance(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_layers_that_see_a_window_do_so_in_half_precision(dtype: torch.dtype) -> None:
    shape = {**SHAPE, "initializer_range": 0.15, "num_key_value_heads": 1}
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    gemma = Gemma3TextConfig(**shape, head_dim=8, sliding_window=4, layer_types=types)
    for model in (
        MistralForCausalLM(MistralConfig(**shape, sliding_window=3)),
        Gemma3ForCausalLM(gemma),
    ):
        model.eval().requires_grad_(False).to(dtype)
        subject = Subject(model, word_tokenizer(), "windows", "layers.1.mlp")
        assert can_resume(subject, random_coder(), TOKENS, first_position=1)
        found = evaluate(subject, random_coder(), TOKENS, SPLICES, **RUN)
        subject.resumable = False
        whole = evaluate(subject, random_coder(), TOKENS, SPLICES, **RUN)
        np.testing.assert_allclose(found.loss, whole.loss, rtol=0, atol=tolerance(dtype) / 4)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_model_that_cannot_be_resumed_is_told_in_half_precision(dtype: torch.dtype) -> None:
    config = MptConfig(vocab_size=VOCABULARY, d_model=D_MODEL, n_layers=3, n_heads=2)
    model = MptForCausalLM(config).eval().requires_grad_(False).to(dtype)
    subject = Subject(model, word_tokenizer(), "mpt", "blocks.1.ffn")
    assert not can_resume(subject, random_coder(), TOKENS, first_position=1)


@pytest.mark.parametrize("dtype", HALVES)
def test_latents_and_estimates_of_half_precision_are_near(dtype: torch.dtype) -> None:
    coder = random_coder()
    found, exact = (
        collect(in_dtype("llama", one), coder, TOKENS, first_position=1)
        for one in (dtype, torch.float32)
    )
    assert found.activations.dtype == np.float32
    np.testing.assert_allclose(found.activations.sum(), exact.activations.sum(), rtol=0.01)
    half, full = (
        attribute(in_dtype("llama", one), coder, TOKENS, VALUES, **RUN)
        for one in (dtype, torch.float32)
    )
    for name, effects in full.effects.items():
        np.testing.assert_allclose(half.effects[name], effects, rtol=0.1, atol=tolerance(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_the_checks_pass_in_half_precision(dtype: torch.dtype) -> None:
    setting = Setting(in_dtype("llama", dtype), random_coder(), TOKENS, 1, [1, 5])
    for check in (
        checks.real_latents_are_the_coder,
        checks.an_oracle_recovers_everything,
        checks.zero_answers_are_the_set_zeroed,
        checks.order_changes_nothing,
    ):
        result = check(setting)
        assert result.outcome is Outcome.PASSED, result.detail
        assert f"{tolerance(dtype):.0e} is allowed" in result.detail


def test_a_model_that_overflows_in_half_precision_is_refused() -> None:
    subject = in_dtype("llama", torch.float16)
    subject.model.get_output_embeddings().weight[3] = 65_504
    with pytest.raises(InputError, match="infinite or not a number"):
        can_resume(subject, random_coder(), TOKENS, first_position=1)


def saved(folder: Path, architecture: str, dtype: torch.dtype = torch.float32) -> Path:
    in_dtype(architecture, dtype).model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_model_is_loaded_in_what_is_asked(tmp_path: Path, stored: torch.dtype) -> None:
    saved(tmp_path, "llama", stored)
    for dtype in Dtype:
        subject = load_subject(str(tmp_path), "layers.1.mlp", dtype=torch_dtype(dtype), device=CPU)
        assert subject.dtype == (stored if dtype is Dtype.AUTO else getattr(torch, dtype))


@pytest.mark.parametrize(
    "offloaded", [set(), {"layers.1", "layers.2"}, {"layers.0", "layers.1", "lm_head"}]
)
def test_a_model_in_parts_is_the_same_model(tmp_path: Path, offloaded: set[str]) -> None:
    saved(tmp_path, "llama")
    plain = load_subject(str(tmp_path), "layers.1.mlp", device=CPU)
    parts = ["embed_tokens", "rotary_emb", "norm", *(f"layers.{n}" for n in range(3))]
    places = {f"model.{part}": "disk" if part in offloaded else "cpu" for part in parts}
    places["lm_head"] = "disk" if "lm_head" in offloaded else "cpu"
    subject = load_subject(
        str(tmp_path), "layers.1.mlp", device_map=places if offloaded else {"": "cpu"}
    )
    assert any(one.device.type == "meta" for one in subject.model.parameters()) == bool(offloaded)
    assert subject.device == CPU

    coder = random_coder()
    assert torch.equal(subject.losses(TOKENS), plain.losses(TOKENS))
    assert torch.equal(output_head(subject.model), output_head(plain.model))
    assert can_resume(subject, coder, TOKENS, first_position=1)

    def figures(one: Subject) -> list[Any]:
        evaluated = evaluate(one, coder, TOKENS, SPLICES, **RUN)
        estimated = attribute(one, coder, TOKENS, VALUES, **RUN)
        shard = collect(one, coder, TOKENS, first_position=1)
        return [evaluated.loss, evaluated.kl, *estimated.effects.values(), shard.activations]

    for found, expected in zip(figures(subject), figures(plain), strict=True):
        np.testing.assert_array_equal(found, expected)
    # Resuming sets the layers below aside, and puts them back.
    assert torch.equal(subject.losses(TOKENS), plain.losses(TOKENS))
