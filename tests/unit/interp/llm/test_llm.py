"""The language model in this process, and how distributions are made of what models give."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from interp.errors import InputError
from interp.llm import transformers as back_end
from interp.llm.llm import Answers, Query
from interp.llm.reading import NOT_A_NUMBER, TOO_LONG, from_logits, from_top
from interp.llm.transformers import TransformersLLM
from tests.engine import MLP, SHAPE, VOCABULARY, tiny_model, word_tokenizer

DIGITS = [str(digit) for digit in range(10)]
WORDS = VOCABULARY - len(DIGITS)
PREFIX = ["w3 w1 w4 w1 w5 ", "w9 w2 w6 "]
QUERIES = [
    Query(["w7 ", "w8 w9 "]),
    Query(["w5 "]),
    Query(["w1 w2 ", "w3 w4 ", "w5 w6 w7 "]),
    Query(["w9 w9"]),
]


def digit_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word: ``w0`` … ``w39``, then the digits from 9 down to 0."""
    known = {f"w{i}": i for i in range(WORDS)} | {str(9 - i): WORDS + i for i in range(10)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w0")


def wide_phi() -> PreTrainedModel:
    """A model whose output head has a bias that matters."""
    model = PhiForCausalLM(PhiConfig(**SHAPE, resid_pdrop=0.0))
    assert isinstance(model.lm_head, nn.Linear)
    nn.init.normal_(model.lm_head.bias, std=2.0)
    return model


MODELS = {
    # Its first two layers look back at three tokens only, fewer than the prefix has.
    "gemma, sliding": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SHAPE,
            num_key_value_heads=1,
            head_dim=8,
            sliding_window=3,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        )
    ),
    "gemma 2, which caps its logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5)
    ),
    "phi, whose head has a bias": wide_phi,
}


@pytest.fixture(params=[*MLP, *MODELS])
def llm(request: pytest.FixtureRequest) -> TransformersLLM:
    if request.param in MLP:
        return TransformersLLM(tiny_model(request.param), digit_tokenizer())
    torch.manual_seed(0)
    return TransformersLLM(MODELS[request.param]().eval(), digit_tokenizer())


def plain(llm: TransformersLLM, prefix: list[str], query: Query) -> NDArray[np.float64]:
    """The same distributions from one whole forward pass a place, without cache or padding, by
    hand: e to the logit of each digit, over their sum."""
    rows = []
    for number in range(len(query.pieces)):
        text = "".join([*prefix, *query.pieces[: number + 1]])
        with torch.inference_mode():
            logits = llm.model(torch.tensor([llm.encode(text)]), use_cache=False).logits[0, -1]
        exp = [math.exp(logits[VOCABULARY - 1 - digit]) for digit in range(10)]
        rows.append([one / sum(exp) for one in exp])
    return np.array(rows)


def assert_right(found: list[Answers], llm: TransformersLLM, prefix: list[str]) -> None:
    for answers, query in zip(found, QUERIES, strict=True):
        expected = plain(llm, prefix, query)
        np.testing.assert_allclose(answers.probabilities, expected, atol=1e-4)
        np.testing.assert_allclose(answers.probabilities.sum(-1), 1, atol=1e-5)
        assert answers.failures == [""] * len(query.pieces)


@pytest.mark.parametrize("batch_tokens", [1, 30, 1000])
def test_distributions_are_those_of_a_plain_forward_pass(
    llm: TransformersLLM, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(back_end.BATCH_TOKENS, "cpu", batch_tokens)
    assert_right(llm.distributions(PREFIX, QUERIES, DIGITS), llm, PREFIX)
    assert_right(llm.distributions([], QUERIES, DIGITS), llm, [])


def test_the_model_is_left_as_it_was(llm: TransformersLLM) -> None:
    ids = torch.tensor([[3, 1, 4]])
    with torch.inference_mode():
        before = llm.model(ids).logits
        llm.distributions(PREFIX, QUERIES, DIGITS)
        assert torch.equal(llm.model(ids).logits, before)
    with pytest.raises(InputError):
        llm.distributions(PREFIX, [Query([""])], DIGITS)
    assert llm.model(ids).logits.shape[-1] == VOCABULARY


def tokens_read(found: list[Answers]) -> int:
    return sum(answers.tokens_read for answers in found)


def test_a_prefix_is_read_once_part_by_part(llm: TransformersLLM) -> None:
    queries = sum(len(llm.encode("".join(query.pieces))) for query in QUERIES)
    first = llm.distributions(PREFIX, QUERIES, DIGITS)
    assert tokens_read(first) == 5 + 3 + queries
    again = llm.distributions(PREFIX, QUERIES, DIGITS)
    assert tokens_read(again) == queries
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)

    # Another second part: the first is kept.
    elsewhere = [PREFIX[0], "w7 w7 "]
    found = llm.distributions(elsewhere, QUERIES, DIGITS)
    assert tokens_read(found) == 2 + queries
    assert_right(found, llm, elsewhere)

    # After many others only what is always used is left.
    for number in range(back_end.KEPT_PREFIXES):
        llm.distributions([PREFIX[0], f"w{number + 1} "], QUERIES[:1], DIGITS)
    assert tokens_read(llm.distributions(PREFIX, QUERIES, DIGITS)) == 3 + queries
    assert len(llm._kept) <= back_end.KEPT_PREFIXES


def test_texts_begin_with_the_token_that_the_tokenizer_begins_them_with() -> None:
    tokenizer = word_tokenizer()  # a model with this one: <s> before every text
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", VOCABULARY - 1)]
    )
    answers = ["w11", "w12"]
    llm = TransformersLLM(tiny_model("llama"), tokenizer)
    (found,) = llm.distributions(["w1 w2 "], [Query(["w3"])], answers)
    with torch.inference_mode():
        logits = llm.model(torch.tensor([[VOCABULARY - 1, 1, 2, 3]])).logits[0, -1]
    np.testing.assert_allclose(
        found.probabilities[0], logits[[11, 12]].softmax(-1).numpy(), atol=1e-5
    )


def test_answers_that_are_no_single_token_are_refused() -> None:
    # Every digit is the same unknown word.
    llm = TransformersLLM(tiny_model("llama"), word_tokenizer())
    with pytest.raises(InputError, match="no single token for each of 0, 1, 2"):
        llm.distributions(PREFIX, QUERIES, DIGITS)
    # Every digit is two tokens, wherever it stands.
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate("_0123456789")}, "_"))
    tokenizer.normalizer = normalizers.Replace(Regex(r"(\d)"), "_\\1")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    llm = TransformersLLM(tiny_model("llama"), PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    with pytest.raises(InputError, match="no single token for each of 0, 1, 2"):
        llm.distributions(PREFIX, QUERIES, DIGITS)


@pytest.fixture
def short() -> Iterator[TransformersLLM]:
    """A chat model that reads at most 16 tokens, and whose chats are bare words."""
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPE, num_key_value_heads=1, max_position_embeddings=16)
    tokenizer = digit_tokenizer()
    tokenizer.chat_template = "{% for one in messages %}{{ one.content }} {% endfor %}"
    yield TransformersLLM(LlamaForCausalLM(config).eval(), tokenizer)


def test_a_text_that_is_too_long_is_missing_and_stops_none_of_the_others(
    short: TransformersLLM,
) -> None:
    long = Query(["w1 " * 5, "w2 " * 5])
    queries = [QUERIES[0], long, QUERIES[1]]
    found = short.distributions(PREFIX, queries, DIGITS)
    np.testing.assert_allclose(found[2].probabilities, plain(short, PREFIX, QUERIES[1]), atol=1e-4)
    assert found[1].failures == [TOO_LONG] * 2
    assert np.isnan(found[1].probabilities).all()
    assert found[0].failures == [""] * 2


def test_what_is_not_a_number_is_missing(llm: TransformersLLM) -> None:
    whole = llm.distributions(PREFIX, QUERIES, DIGITS)
    embedding = llm.model.get_input_embeddings()

    def poison(_: object, args: object, hidden: torch.Tensor) -> torch.Tensor:
        """What has w8 in it comes out as not-a-number."""
        (ids,) = args  # type: ignore[misc]
        return torch.where((ids == 8)[..., None], torch.nan, hidden)

    handle = embedding.register_forward_hook(poison)
    try:
        found = llm.distributions(PREFIX, QUERIES, DIGITS)
    finally:
        handle.remove()
    assert found[0].failures == [NOT_A_NUMBER] * 2
    assert np.isnan(found[0].probabilities).all()
    for one, other in zip(found[1:], whole[1:], strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


# --- Chats --------------------------------------------------------------------------------------


def greedy(llm: TransformersLLM, text: str, most: int) -> list[int]:
    """The likeliest tokens one after the other, by whole forward passes, up to the end token w0."""
    ids = llm.encode(text)
    start = len(ids)
    while len(ids) < start + most and ids[-1:] != [0]:
        with torch.inference_mode():
            ids.append(int(llm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_chats_are_answered_greedily_whatever_is_in_their_batch(
    short: TransformersLLM, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(back_end.BATCH_TOKENS, "cpu", batch_tokens)
    texts = [f"w{i} " + "w7 " * (i % 4) + "w3" for i in range(1, 9)] + ["w1 " * 12]
    found = short.complete([[{"role": "user", "content": text}] for text in texts], max_tokens=6)
    lengths = set()
    for text, completion in zip(texts[:-1], found, strict=False):
        expected = greedy(short, text, 6)
        lengths.add(len(expected))
        words = [i for i in expected if i]
        assert completion.text is not None
        assert short.encode(completion.text) == words
        assert completion.failure == ""
        assert completion.tokens_written == len(expected)
        assert completion.tokens_read == len(short.encode(text))
    assert len(lengths) > 1, "some end before others, or this test shows little"
    assert found[-1][:4] == (None, TOO_LONG, 0, 0)


def test_a_temperature_varies_the_answers(short: TransformersLLM) -> None:
    torch.manual_seed(0)
    chats = [[{"role": "user", "content": "w1 w2"}]] * 20
    assert len({one.text for one in short.complete(chats, max_tokens=6)}) == 1
    assert len({one.text for one in short.complete(chats, max_tokens=6, temperature=2.0)}) > 5


def test_a_base_model_answers_no_chats(short: TransformersLLM) -> None:
    short.tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template: it is a base model"):
        short.complete([[{"role": "user", "content": "w1"}]], max_tokens=2)


# --- Distributions from what servers give -------------------------------------------------------


def test_logits_become_a_softmax() -> None:
    logits = np.log([[1.0, 3.0, 4.0], [2.0, 2.0, 4.0]]) + 700.0  # e to this would overflow
    found = from_logits(logits, 5)
    np.testing.assert_allclose(found.probabilities, [[1 / 8, 3 / 8, 4 / 8], [1 / 4, 1 / 4, 1 / 2]])
    assert found.failures == ["", ""]
    assert found.tokens_read == 5
    nothing = np.array([[-np.inf, -np.inf], [np.nan, 0], [0, -np.inf]])
    found = from_logits(nothing, 5)
    assert found.failures == [NOT_A_NUMBER, NOT_A_NUMBER, ""]
    np.testing.assert_array_equal(found.probabilities[2], [1, 0])
    assert np.isnan(found.probabilities[:2]).all()
    assert from_logits(np.empty((0, 10)), 0).probabilities.shape == (0, 10)


def logs(**probabilities: float) -> dict[str, float]:
    return {token: math.log(probability) for token, probability in probabilities.items()}


def test_the_likeliest_tokens_become_a_distribution_over_the_answers() -> None:
    found = from_top(logs(a=0.6, b=0.2, other=0.1), ["a", "b"])
    np.testing.assert_allclose(found, [0.75, 0.25])  # type: ignore[arg-type]
    # With space around it, a token answers all the same, and adds to what is there.
    found = from_top(logs(a=0.5) | {" a": math.log(0.1), "b\n": math.log(0.2)}, ["a", "b"])
    np.testing.assert_allclose(found, [0.75, 0.25])  # type: ignore[arg-type]


@pytest.mark.parametrize(("least", "known"), [(0.0199, True), (0.0201, False)])
def test_answers_that_were_not_returned_must_have_little(least: float, known: bool) -> None:
    # Two of three answers are unseen; each has at most what the least likely token has; 5% of the
    # 0.8 that was seen is 0.04.
    found = from_top(logs(a=0.8, other=least), ["a", "b", "c"])
    assert (found is not None) == known
    if found is not None:
        np.testing.assert_allclose(found, [1, 0, 0])


def test_no_answer_among_the_likeliest_tokens_is_no_distribution() -> None:
    assert from_top(logs(x=0.9, y=0.1), ["a", "b"]) is None
    assert from_top({}, ["a", "b"]) is None
