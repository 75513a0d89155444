"""The prompted simulator and the language model that it reads digits from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from interp.errors import InputError
from interp.llm.transformers import Query, TransformersLLM
from interp.simulate.all_at_once import PROMPT, AllAtOnce
from tests.engine import MLP, SHAPE, smollm2, tiny_model, word_tokenizer

EXPLANATION = "Active on “dog” (100%), mostly after “the”."
CONTEXTS = [
    ["<s>", " Yesterday", " the", " dog", " slept", ".\n", "\t", "The"],
    ["<s>", " A", " pal", "imp", "sest", " is", " écrit", "!"],
    ["<s>", " we", " saw", " the", " dog", " and", " the", " dog"],
]


def digits_of(logits: Tensor, digits: list[int]) -> Tensor:
    """Probabilities of the ten digits, by hand: e^z over its sum."""
    z = logits[..., digits].double().exp()
    return (z / z.sum(-1, keepdim=True)).float()


# --- The back end, on random models -------------------------------------------------------------


def digit_tokenizer() -> PreTrainedTokenizerFast:
    known = {str(digit): 40 - digit for digit in range(10)} | {"?": 0}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(known, unk_token="?"))
    )


PREFIX, QUERIES = (
    [3, 1, 4, 1, 5, 9, 2, 6],
    [
        Query([7, 8, 9], [0, 2]),
        Query([5], [0]),
        Query([1, 2, 3, 4, 5, 6, 7], [1, 3, 6]),
        Query([9, 9], [1]),
    ],
)


@pytest.fixture(params=[*MLP, "gemma, sliding"])
def llm(request: pytest.FixtureRequest) -> TransformersLLM:
    if request.param in MLP:
        return TransformersLLM(tiny_model(request.param), digit_tokenizer())
    # Its first two layers look back at three tokens only, fewer than the prefix has.
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        **SHAPE,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    )
    return TransformersLLM(Gemma3ForCausalLM(config).eval(), digit_tokenizer())


def plain(llm: TransformersLLM, prefix: list[int], query: Query) -> Tensor:
    """The same distributions from one whole forward pass, without cache, batch or padding."""
    with torch.inference_mode():
        logits = llm.model(torch.tensor([prefix + query.ids]), use_cache=False).logits[0]
    return digits_of(logits[[len(prefix) + i for i in query.read_at]], list(range(40, 30, -1)))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_distributions_are_those_of_a_plain_forward_pass(
    llm: TransformersLLM, batch_size: int
) -> None:
    found = llm.digit_distributions(llm.read(PREFIX), QUERIES, batch_size=batch_size)
    assert [one.shape for one in found] == [(2, 10), (1, 10), (3, 10), (1, 10)]
    for distribution, query in zip(found, QUERIES, strict=True):
        torch.testing.assert_close(distribution, plain(llm, PREFIX, query), atol=1e-4, rtol=0)
        torch.testing.assert_close(distribution.sum(-1), torch.ones(len(query.read_at)))


def test_a_prefix_is_read_in_parts_and_stays_usable(llm: TransformersLLM) -> None:
    start = llm.read(PREFIX[:5])
    whole = llm.read(PREFIX[5:], start)
    other = llm.read([0, 0], start)
    assert (start.tokens, whole.tokens, other.tokens) == (5, 8, 7)
    first = llm.digit_distributions(whole, QUERIES)
    second = llm.digit_distributions(whole, QUERIES)
    for one, again, query in zip(first, second, QUERIES, strict=True):
        assert torch.equal(one, again)
        torch.testing.assert_close(one, plain(llm, PREFIX, query), atol=1e-4, rtol=0)
    (elsewhere,) = llm.digit_distributions(other, QUERIES[:1])
    expected = plain(llm, [*PREFIX[:5], 0, 0], QUERIES[0])
    torch.testing.assert_close(elsewhere, expected, atol=1e-4, rtol=0)


def test_a_tokenizer_that_does_not_know_digits_is_refused() -> None:
    # Every digit is the same unknown word.
    llm = TransformersLLM(tiny_model("llama"), word_tokenizer())
    with pytest.raises(InputError, match="no single token for each digit"):
        llm.digit_distributions(llm.read(PREFIX), QUERIES)


def test_a_tokenizer_that_writes_digits_as_two_tokens_is_refused() -> None:
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate("_0123456789")}, "_"))
    tokenizer.normalizer = normalizers.Prepend("_")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    llm = TransformersLLM(tiny_model("llama"), PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    with pytest.raises(InputError, match="no single token for each digit"):
        llm.digit_distributions(llm.read(PREFIX), QUERIES)


# --- The simulator, on the real SmolLM2 ---------------------------------------------------------


@pytest.fixture(scope="module")
def simulator(model_cache: Path) -> AllAtOnce:
    subject = smollm2(model_cache)
    return AllAtOnce(TransformersLLM(subject.model, subject.tokenizer))


def lines(tokens: list[str]) -> list[str]:
    return [token.replace("\n", "\\n").replace("\t", "\\t") for token in tokens]


def test_simulated_values_are_the_expected_digits_of_a_plain_forward_pass(
    simulator: AllAtOnce,
) -> None:
    llm = simulator.llm
    found = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1)
    before, after = PROMPT.split(" {explanation}")
    asked = llm.encode(before) + llm.encode(" " + EXPLANATION) + llm.encode(after)
    tab, newline = llm.encode("\t"), llm.encode("\n")
    # The instructions are read once for all simulations.
    tokens_read = len(asked) - len(llm.encode(before))
    for row, context in enumerate(CONTEXTS):
        ids, read_at = asked.copy(), []
        for line in lines(context[1:]):
            ids += llm.encode(line) + tab
            read_at.append(len(ids) - 1)
            ids += newline
        # What is read is the prompt, then one token a line.
        text = PROMPT.replace("{explanation}", EXPLANATION)
        assert llm.tokenizer.decode(ids) == text + "".join(
            f"{line}\t\n" for line in lines(context[1:])
        )
        with torch.inference_mode():
            logits = llm.model(torch.tensor([ids]), use_cache=False).logits[0, read_at]
        digits = [llm.tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
        expected = digits_of(logits, digits) @ torch.arange(10.0)
        np.testing.assert_allclose(found.values[row, 1:], expected, atol=1e-3)
        tokens_read += len(ids) - len(asked)
    assert found.tokens_read == tokens_read
    assert found.missing == 0
    assert found.seconds > 0


def test_positions_before_the_first_are_not_simulated_and_not_missing(
    simulator: AllAtOnce,
) -> None:
    found = simulator.simulate(EXPLANATION, CONTEXTS[:1], first_position=3)
    assert found.values.shape == (1, 8)
    assert np.isnan(found.values[0]).tolist() == [True] * 3 + [False] * 5
    assert found.missing == 0


def test_the_explanation_is_what_is_simulated(simulator: AllAtOnce) -> None:
    dog = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1).values
    # The two dogs of the last context stand out from its five other words.
    assert dog[2, [4, 7]].min() > dog[2, [1, 2, 3, 5, 6]].max()
    assert ((dog[:, 1:] >= 0) & (dog[:, 1:] <= 9)).all()
    other = simulator.simulate("Active on “and” (100%).", CONTEXTS, first_position=1).values
    assert np.nanmax(np.abs(other - dog)) > 0.1
    # Simulating something else in between changes nothing.
    again = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1).values
    np.testing.assert_array_equal(again, dog)


def test_contexts_do_not_see_each_other(simulator: AllAtOnce) -> None:
    together = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1).values
    for row, context in enumerate(CONTEXTS):
        alone = simulator.simulate(EXPLANATION, [context], first_position=1).values
        np.testing.assert_allclose(alone[0], together[row], atol=1e-3)


@contextmanager
def poisoned(llm: TransformersLLM, row: int) -> Iterator[None]:
    """Within the block, one row of every batch comes out as not-a-number."""

    def poison(_: object, args: object, hidden: Tensor) -> Tensor | None:
        if len(hidden) == 1:
            return None
        hidden = hidden.clone()
        hidden[row] = torch.nan
        return hidden

    handle = llm.model.base_model.get_submodule("norm").register_forward_hook(poison)
    try:
        yield
    finally:
        handle.remove()


def test_what_cannot_be_read_is_missing_and_counted(simulator: AllAtOnce) -> None:
    whole = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1).values
    with poisoned(simulator.llm, row=1):
        found = simulator.simulate(EXPLANATION, CONTEXTS, first_position=1)
    # All seven simulated tokens of the second context; never zero.
    assert found.missing == 7
    assert np.isnan(found.values[1]).all()
    np.testing.assert_array_equal(found.values[[0, 2]], whole[[0, 2]])
