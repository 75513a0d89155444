"""The two-tower simulator, its training, and the record of what it was trained on."""

import copy

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.simulate.training.align import Aligned
from interp.simulate.training.reader import Reader, quick
from interp.simulate.training.trained import Fold, Trained
from interp.simulate.two_tower.networks import Encoded, Projection, Shape, Towers, logits
from tests.engine import MLP, tiny_model, word_tokenizer

SMALL = Shape(features=32, width=24, token_hidden=32, explanation_hidden=8, heads=2, layers=1)


# --- The parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", MLP)
def test_the_reader_takes_the_states_of_a_plain_forward_pass(architecture: str) -> None:
    # Asked for its hidden states, a model keeps the hooks: a copy is asked.
    model, tokenizer = copy.deepcopy(tiny_model(architecture)), word_tokenizer()
    reader = Reader(tiny_model(architecture), tokenizer, [0, 1, 2])
    texts = [["w1", " w2", " w3"], ["w5"], ["w7", " w8", " w9", " w10", " w11"]]
    found = reader.states([reader.text(text) for text in texts])
    for text, states in zip(texts, found, strict=True):
        ids = torch.tensor([[49, *(int(word.strip()[1:]) for word in text)]])
        with torch.inference_mode():
            hidden = model.base_model(ids, output_hidden_states=True).hidden_states
        torch.testing.assert_close(states, torch.cat(hidden[:3], -1)[0, 1:])


@pytest.mark.parametrize("architecture", MLP)
def test_a_quick_copy_reads_nearly_the_same(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_model(architecture), word_tokenizer()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert quick(model) is model
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    smaller = quick(model)
    assert {weight.dtype for weight in smaller.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    text = [Reader(model, tokenizer, [0]).text(["w1", " w2", " w3"])]
    (exact,), (near,) = (Reader(one, tokenizer, [0, 2]).states(text) for one in (model, smaller))
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() / exact.norm() < 0.02


def test_the_reader_refuses_layers_that_are_not_there() -> None:
    with pytest.raises(InputError, match="3 layers, not 4"):
        Reader(tiny_model("llama"), word_tokenizer(), [0, 4])


def test_a_projection_keeps_the_leading_directions() -> None:
    """Three dimensions, of which the first two say the same: one component holds both."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.linalg.qr(torch.randn(500, 2, generator=generator)).Q.mT * 500**0.5
    one, other = one - one.mean(), other - other.mean()
    states = torch.stack([5 + 2 * one, -3 * one, other], dim=1)
    projection = Projection.fit(states, 2)
    standard = (states - states.mean(0)) / states.std(0)
    found = projection(states)
    expected = torch.stack([(standard[:, 0] - standard[:, 1]) / 2**0.5, standard[:, 2]], 1)
    expected = expected / expected.square().mean().sqrt()
    signs = torch.sign((found * expected).sum(0))
    torch.testing.assert_close(found * signs, expected, atol=1e-2, rtol=1e-2)
    assert found.square().mean().item() == pytest.approx(1, abs=1e-3)


def test_a_projection_needs_enough_text() -> None:
    with pytest.raises(InputError, match="Train on more text"):
        Projection.fit(torch.randn(5, 20), 12)


def random_towers(seed: int = 0) -> Towers:
    towers = Towers(SMALL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return towers.eval()


@torch.no_grad()
def by_hand(towers: Towers, explanation: Tensor, x: Tensor) -> Tensor:
    """The formulas of the module, one explanation and one token at a time."""
    h = towers.mix(towers.enter(explanation)[None])[0]
    pooled = []
    for head in range(SMALL.heads):
        score = h @ towers.attention.weight[head] + towers.attention.bias[head]
        weight = score.exp() / score.exp().sum()
        pooled.append(
            sum(
                w * (towers.shared(e) + towers.value(one))
                for w, e, one in zip(weight, explanation, h, strict=True)
            )
        )
    v = towers.join(torch.cat(pooled))
    scale, bias = towers.scale_and_bias(h.mean(0))
    u = torch.stack([towers.shared(token) + towers.token_mlp(token) for token in x])
    return scale.exp() * (u @ v) / SMALL.width**0.5 + bias


@torch.no_grad()
def test_the_towers_are_their_formula_whatever_else_is_in_the_batch() -> None:
    towers = random_towers()
    explanations = [torch.randn(n, SMALL.features) for n in (3, 1, 7)]
    x = torch.randn(5, SMALL.features)
    found = logits(towers.tokens(x), towers.explanations(explanations))
    for column, explanation in enumerate(explanations):
        expected = by_hand(towers, explanation, x)
        torch.testing.assert_close(found[:, column], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_untrained_towers_say_that_a_quoted_word_is_like_itself() -> None:
    towers = Towers(SMALL)
    word = torch.randn(1, SMALL.features)
    encoded = towers.explanations([word])
    expected = towers.shared(word)[0] + towers.value.bias + towers.join.bias
    torch.testing.assert_close(encoded.vector[0], expected / SMALL.width**0.5)
    assert isinstance(encoded, Encoded)
    assert encoded.bias.item() == pytest.approx(-5)


def test_a_fold_of_another_coder_may_simulate_any_latent() -> None:
    trained = Trained(
        method="two_tower",
        version="1",
        base="tiny",
        base_sha256="",
        folds=[Fold(file="f", latents={"other": [0, 1]})],
        corpus="words",
        documents=[],
        shape={},
        training={},
        figures={},
    )
    assert trained.fold_for("this", 0) == 0
    assert trained.fold_for("other", 0) is None
    assert trained.fold_for("other", 2) == 0
    assert trained.fold_for("other", None) == 0


def test_an_explanation_is_read_whole() -> None:
    reader = Reader(tiny_model("llama"), word_tokenizer(), [0])
    text = reader.explanation("w1 w2 w3")
    assert isinstance(text, Aligned)
    assert text.ids == [1, 2, 3]
    assert text.places.tolist() == [0, 1, 2]
