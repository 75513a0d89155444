"""The inline simulator."""

import copy
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertLMHeadModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from interp.errors import InputError
from interp.simulate.inline.base import Base, Shape, default_shape, save_fold
from interp.simulate.inline.lessons import Lessons, draw_contexts
from interp.simulate.inline.simulator import Inline
from interp.simulate.inline.train import train_fold, weighted_correlation
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.training.corpus import Corpus
from interp.simulate.training.reader import fingerprint, layers_of
from interp.simulate.training.trained import Fold, Trained
from tests.engine import MLP, SHAPE, tiny_model, word_tokenizer
from tests.training import BOS, DIGIT, NEWLINE, SETTINGS, WORDS, corpus_of_words, tokenizer

SMALL = Shape(apart=1, together=2, rank=4)
ARCHITECTURES = [*MLP, "gemma of both kinds of layers"]


def silently(_: str) -> None:
    """Takes progress, and says nothing."""


@cache
def model_of(architecture: str) -> PreTrainedModel:
    """A random model of three layers. It is shared: leave it as it is."""
    if architecture in MLP:
        return tiny_model(architecture)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        **SHAPE,
        num_key_value_heads=1,
        head_dim=8,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
    )
    return Gemma3ForCausalLM(config).eval().requires_grad_(False)


def random_fold(base: Base, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a fold that changes what the base says."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) / 3
        for name, value in base.state().items()
    }


# --- One pass -------------------------------------------------------------------------------------


def plainly(
    model: PreTrainedModel, shape: Shape, fold: dict[str, Tensor], ask: str, text: str
) -> Tensor:
    """Expected digits at the tokens of a text, by plain forward passes, one text at a time.

    The adapters are added to the weights; nothing is kept, shared or filled up.
    """
    tuned = copy.deepcopy(model)
    layers = layers_of(tuned)
    for name in {name.rsplit(".lora", 1)[0] for name in fold if ".lora" in name}:
        where, number, rest = name.split(".", 2)
        module = tuned.base_model.get_submodule(f"{where}.{int(number) + shape.apart}.{rest}")
        change = 2 * fold[f"{name}.lora_B.weight"] @ fold[f"{name}.lora_A.weight"]
        module.weight.data += change.mT if isinstance(module, Conv1D) else change

    def apart(ids: list[int]) -> Tensor:
        asked = copy.deepcopy(model.base_model)  # it keeps the hooks that this sets
        hidden = asked(torch.tensor([ids]), output_hidden_states=True).hidden_states
        return hidden[shape.apart]

    def ids_of(text: str) -> list[int]:
        return list(tokenizer()(text).input_ids)

    explanation, tokens = [BOS, *ids_of(ask), NEWLINE], ids_of(text)
    states = torch.cat([apart(explanation), apart([BOS, *tokens])[:, 1:]], 1)

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    layers[shape.apart].register_forward_pre_hook(enter, with_kwargs=True)
    del layers[shape.apart + shape.together :]
    tuned.config.num_hidden_layers = len(layers)
    both = torch.tensor([[*explanation, *tokens]])
    hidden = tuned.base_model(both).last_hidden_state[0, len(explanation) :]
    logits = hidden @ fold["digits.weight"].mT + fold["digits.bias"]
    return (logits.softmax(-1) * torch.arange(10)).sum(-1).detach()


ASK = "w1 w7 w3"
TEXTS = ["w4 w1", "w1 w7 w9 w30 w2 w5", "w8"]
"""Of several lengths: the shorter ones are filled up."""


@torch.no_grad()
@pytest.mark.parametrize("shape", [SMALL, Shape(apart=0, together=2), Shape(apart=2, together=1)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_pass_over_many_texts_is_a_plain_pass_over_each(
    architecture: str, shape: Shape
) -> None:
    model = model_of(architecture)
    base = Base(model, tokenizer(), shape)
    base.add_fold()
    fold = random_fold(base)
    base.load_state(fold)
    texts = [text for text in base.texts([[text] for text in TEXTS]) if text is not None]
    whole = [text._replace(places=np.arange(len(text.states))) for text in texts]
    explanation = base.read(base.explanation(ASK))
    found = base.logits(explanation, whole)
    again = base.logits(explanation, whole)  # what was read serves more than once
    for text, one, other in zip(TEXTS, found, again, strict=True):
        expected = plainly(model, shape, fold, ASK, text)
        torch.testing.assert_close(one.softmax(-1) @ torch.arange(10.0), expected)
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_with_all_layers_together_it_is_the_base_itself_that_is_read() -> None:
    """Untrained, and of a base without learned positions: its own logits for the digits."""
    model = tiny_model("llama")
    base = Base(model, tokenizer(), Shape(apart=0, together=3))
    base.add_fold()
    (text,) = base.texts([["w4", " w1"]])
    assert text is not None
    (found,) = base.logits(base.read(base.explanation("w9")), [text])
    logits = model(torch.tensor([[BOS, 9, NEWLINE, 4, 1]])).logits[0, 3:, DIGIT : DIGIT + 10]
    logits[:, 0] += 5  # most latents are mostly silent
    torch.testing.assert_close(found, logits)


@torch.no_grad()
def test_a_value_is_read_at_the_token_that_has_the_last_character() -> None:
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    base.add_fold()
    base.load_state(random_fold(base))
    explanation = base.read(base.explanation(ASK))
    cut, whole = base.texts([["w", "1", " w7 w", "9"], ["w1", " w7", " w9"]])
    assert cut is not None and whole is not None
    cut_logits, whole_logits = base.logits(explanation, [cut, whole])
    torch.testing.assert_close(cut_logits, whole_logits[[0, 0, 2, 2]])


@torch.no_grad()
def test_an_explanation_is_one_line_and_not_too_long() -> None:
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    torch.testing.assert_close(base.explanation("w1\n w2 \t\n"), base.explanation("w1 w2"))
    assert len(base.explanation("w1 w2")) == 4
    assert len(base.explanation("w1 " * 500)) == 130


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="3 layers, not 4"):
        Base(tiny_model("llama"), tokenizer(), Shape(apart=2, together=2))
    with pytest.raises(InputError, match="no single token for each of 0, 1"):
        Base(tiny_model("llama"), word_tokenizer(), SMALL)


def recurrent() -> PreTrainedModel:
    return MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=3, vocab_size=50))


def two_way() -> PreTrainedModel:
    """Its tokens look ahead: what fills up a text would change it."""
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
    )
    return BertLMHeadModel(config)


@pytest.mark.parametrize("make", [recurrent, two_way])
def test_it_refuses_what_is_no_causal_transformer(make: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match="cannot be the base of an inline simulator"):
        Base(make().eval(), tokenizer(), SMALL)


def test_the_default_shape_fits_any_depth() -> None:
    assert default_shape(18) == Shape(apart=5, together=8)
    for depth in range(1, 90):
        shape = default_shape(depth)
        assert shape.apart + shape.together <= depth


# --- Folds ----------------------------------------------------------------------------------------


def write_simulator(folder: Path, architecture: str = "llama", folds: int = 2) -> Base:
    """A simulator with random weights: fold i was trained on latents i and 5."""
    model = model_of(architecture)
    base = Base(model, tokenizer(), SMALL)
    for fold in range(folds):
        base.add_fold()
        save_fold(random_fold(base, seed=fold), folder / f"fold{fold}.safetensors")
    Trained(
        method="inline",
        version="inline-1",
        base="tiny",
        base_sha256=fingerprint(model),
        folds=[Fold(file=f"fold{i}.safetensors", latents={"coder": [i, 5]}) for i in range(folds)],
        corpus="words",
        documents=["a"],
        shape=SMALL.model_dump(),
        training={},
        figures={},
    ).write(folder)
    return base


def simulate(folder: Path, asks: list[Ask], contexts: list[list[str]]) -> list[Simulated]:
    simulator = Inline(tiny_model("llama"), tokenizer(), folder, "coder")
    return list(simulator.simulate(asks, contexts, first_position=1))


CONTEXTS = [["<s>", "w1", " w2", " w3"], ["<s>", "w4", " w", "1"], ["<s>", "w9", " w9", " w9"]]


def test_each_latent_is_simulated_by_a_fold_that_never_saw_it(tmp_path: Path) -> None:
    base = write_simulator(tmp_path)
    asks = [Ask("w1", latent=0), Ask("w1", latent=1), Ask("w1", latent=2), Ask("w1", latent=0)]
    found = simulate(tmp_path, asks, CONTEXTS)
    for one, fold in zip(found, [1, 0, 0, 1], strict=True):
        base.use(fold)
        weights = random_fold(base, seed=fold)
        weights = {name: value.half().float() for name, value in weights.items()}
        for row, text in enumerate(["w1 w2 w3", "w4 w1", "w9 w9 w9"]):
            expected = plainly(tiny_model("llama"), SMALL, weights, "w1", text)
            expected = expected[[0, 1, 1]] if row == 1 else expected
            np.testing.assert_allclose(one.values[row, 1:], expected, atol=1e-4)
        assert np.isnan(one.values[:, 0]).all()
        assert ((one.values[:, 1:] >= 0) & (one.values[:, 1:] <= TOP)).all()
        assert (one.failures, one.tokens_written) == ({}, 0)
    # Folds differ, or the above would show nothing.
    assert np.nanmax(np.abs(found[0].values - found[1].values)) > 0.1


def test_what_every_fold_was_trained_on_is_missing(tmp_path: Path) -> None:
    write_simulator(tmp_path)
    seen, unseen = simulate(tmp_path, [Ask("w1", latent=5), Ask("w1", latent=6)], CONTEXTS)
    assert np.isnan(seen.values).all()
    assert seen.failures == {"every fold was trained on this latent": 9}
    assert unseen.missing == 0
    another = Inline(tiny_model("llama"), tokenizer(), tmp_path, "another coder")
    (other,) = another.simulate([Ask("w1", latent=5)], CONTEXTS, first_position=1)
    assert other.missing == 0


def test_an_explanation_without_text_is_missing(tmp_path: Path) -> None:
    write_simulator(tmp_path)
    (found,) = simulate(tmp_path, [Ask(" \n", latent=0)], CONTEXTS)
    assert found.failures == {"the explanation has no text": 9}
    assert np.isnan(found.values).all()


def test_a_text_that_is_too_long_is_missing_and_no_other(tmp_path: Path) -> None:
    model = tiny_model("llama")
    simulator_folder = tmp_path
    write_simulator(simulator_folder)
    longest = model.config.max_position_embeddings
    long = [["<s>", "w1", " w2" * (longest - words), " w3"] for words in (1, 4, 5)]
    contexts = [CONTEXTS[0], *long]
    (found,) = simulate(simulator_folder, [Ask("w1", latent=0)], contexts)
    # With what begins it, the first is longer than the base reads, the second with the explanation.
    assert np.isnan(found.values[1:3]).all()
    assert found.failures == {"The text is too long for the model.": 6}
    assert not np.isnan(found.values[[0, 3], 1:]).any()


def test_texts_are_read_once(tmp_path: Path) -> None:
    write_simulator(tmp_path)
    simulator = Inline(tiny_model("llama"), tokenizer(), tmp_path, "coder")
    asks = [Ask("w1 w2", latent=0), Ask("w3", latent=1)]
    first, second = simulator.simulate(asks, CONTEXTS, first_position=1)
    # 8 tokens of text for all, then with each explanation, its line end and what begins it.
    assert (first.tokens_read, second.tokens_read) == (8 + 4 + 8, 3 + 8)
    again, _ = simulator.simulate(asks, CONTEXTS, first_position=1)
    assert again.tokens_read == 12
    np.testing.assert_array_equal(again.values, first.values)


def test_the_shared_model_stays_as_it_is(tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model("llama")).requires_grad_(True)
    write_simulator(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules, config = [name for name, _ in model.named_modules()], model.config.to_dict()
    ids = torch.tensor([[BOS, 1, 2, 3]])
    with torch.no_grad():
        logits = model(ids).logits
    simulator = Inline(model, tokenizer(), tmp_path, "coder")
    during = simulator.simulate(
        [Ask("w1", latent=0), Ask("w2", latent=1)], CONTEXTS, first_position=1
    )
    for _ in during:
        with torch.no_grad():
            torch.testing.assert_close(model(ids).logits, logits, rtol=0, atol=0)
    assert [name for name, _ in model.named_modules()] == modules
    assert model.config.to_dict() == config
    assert all(weight.requires_grad for weight in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    # Its weights are not copied.
    own = {weight.data_ptr() for weight in simulator.base.upper.parameters()}
    assert {weight.data_ptr() for weight in model.model.layers[1].parameters()} <= own


def test_it_says_what_is_wrong_with_its_folder(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with pytest.raises(InputError, match="holds no trained simulator"):
        Inline(model, tokenizer(), tmp_path, "coder")
    write_simulator(tmp_path)
    record = Trained.read(tmp_path)
    record.model_copy(update={"method": "two_tower"}).write(tmp_path)
    with pytest.raises(InputError, match="method two_tower, not inline"):
        Inline(model, tokenizer(), tmp_path, "coder")
    record.write(tmp_path)
    with pytest.raises(InputError, match="is another model"):
        Inline(tiny_model("gemma"), tokenizer(), tmp_path, "coder")
    (tmp_path / "fold0.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"fold0\.safetensors cannot be read"):
        Inline(model, tokenizer(), tmp_path, "coder")
    base = Base(model, tokenizer(), Shape(apart=1, together=2, rank=3))
    base.add_fold()
    save_fold(base.state(), tmp_path / "fold0.safetensors")
    with pytest.raises(InputError, match="does not fit its simulator"):
        Inline(model, tokenizer(), tmp_path, "coder")


@given(firing=st.integers(0, 9), silent=st.integers(0, 9), count=st.integers(2, 8), data=st.data())
def test_weights_make_any_draw_count_as_all_contexts_do(
    firing: int, silent: int, count: int, data: st.DataObject
) -> None:
    if firing + silent == 0:
        return
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    fires, rest = np.arange(firing), np.arange(100, 100 + silent)
    drawn = draw_contexts(fires, rest, count, rng)
    assert len(set(drawn.contexts.tolist())) == len(drawn.contexts) == min(count, firing + silent)
    # A value that is one where the latent fires and zero elsewhere has the mean that it has in all
    # contexts, whichever were drawn; unless its half is not drawn at all.
    own = drawn.weights[drawn.contexts < 100].sum() / len(drawn.contexts)
    assert own == pytest.approx(firing / (firing + silent))


def test_weights_by_hand() -> None:
    # 3 of 10 contexts fire; of four drawn, two do: each counts 0.3 / 0.5, a silent one 0.7 / 0.5.
    drawn = draw_contexts(np.arange(3), np.arange(3, 10), 4, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.weights, [0.6, 0.6, 1.4, 1.4])
    assert (drawn.contexts[:2] < 3).all() and (drawn.contexts[2:] >= 3).all()


def lessons_of(base: Base, corpus: Corpus) -> Lessons:
    return Lessons(base, corpus, 0, silently)


@torch.no_grad()
def test_the_expected_loss_is_that_of_all_text() -> None:
    """Over every draw of one firing and one silent context, against the plain mean."""
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    base.add_fold()
    base.load_state(random_fold(base))
    corpus = corpus_of_words(contexts=12)
    lessons = lessons_of(base, corpus)
    fires = np.array([" w4" in context for context in corpus.contexts])
    assert 0 < fires.sum() < 12
    weights = draw_contexts(
        np.flatnonzero(fires), np.flatnonzero(~fires), 2, np.random.default_rng(0)
    ).weights
    found = [
        lessons.loss(base, 4, "w4", np.array(pair), weights).item()
        for pair in itertools.product(np.flatnonzero(fires), np.flatnonzero(~fires))
    ]
    everything = []
    for context in corpus.contexts:
        (text,) = base.texts([context])
        assert text is not None
        (logits,) = base.logits(base.read(base.explanation("w4")), [text])
        for word, row in zip(context, logits.log_softmax(-1), strict=True):
            everything.append(-row[9 if word == " w4" else 0].item())
    assert np.mean(found) == pytest.approx(np.mean(everything), rel=1e-5)


def test_digits_round_half_up_and_never_call_an_active_token_silent() -> None:
    corpus = corpus_of_words(contexts=2, seq=5)
    activations = np.zeros((10, WORDS), np.float32)
    activations[:, 3] = [0, 18, 1e-3, 1, 2.9, 3, 3.1, 17, 16.9, 0]
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    lessons = lessons_of(base, corpus._replace(activations=csr_matrix(activations)))
    digits = lessons.digits(3, np.array([1, 0]))
    assert digits.tolist() == [[2, 2, 9, 8, 0], [0, 9, 1, 1, 1]]
    assert lessons.digits(4, np.array([0])).tolist() == [[0] * 5]


def test_a_weighted_correlation_is_that_of_repeated_values() -> None:
    rng = np.random.default_rng(0)
    x, y, often = rng.random(9), rng.random(9), rng.integers(1, 5, 9)
    expected = np.corrcoef(np.repeat(x, often), np.repeat(y, often))[0, 1]
    assert weighted_correlation(x, y, often.astype(float)) == pytest.approx(expected)
    assert weighted_correlation(np.ones(9), y, often.astype(float)) == 0


def test_text_on_which_nothing_can_be_watched_is_refused(tmp_path: Path) -> None:
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    base.add_fold()
    corpus, settings = corpus_of_words(contexts=12), SETTINGS.model_copy(update={"steps": 1})
    with pytest.raises(InputError, match="Train on more text"):
        train_fold(base, corpus, lessons_of(base, corpus), settings, 0, tmp_path / "c.pt", silently)


def test_latents_that_cannot_be_dealt_are_refused(tmp_path: Path) -> None:
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    base.add_fold()
    corpus = corpus_of_words()._replace(explanations={3: ["w3"]})
    with pytest.raises(InputError, match="1 latents are too few for 2 folds"):
        train_fold(base, corpus, lessons_of(base, corpus), SETTINGS, 0, tmp_path / "c.pt", silently)
