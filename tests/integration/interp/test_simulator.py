"""The prompted simulators on the real SmolLM2."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from interp.llm.llm import LLM
from interp.llm.tokens import chat_ids
from interp.llm.transformers import TransformersLLM
from interp.simulate.prompted import json_reply, prompts
from interp.simulate.prompted.all_at_once import AllAtOnce
from interp.simulate.prompted.json_reply import JsonReply
from interp.simulate.prompted.last_token import LastToken
from interp.simulate.protocol import Ask, Simulated, Simulator
from interp.simulate.registry import SIMULATORS
from tests.engine import smollm2

DOG = Ask("Active on “dog” (100%), mostly after “the”.")


WORDY = Ask("Words that express certainty or doubt in a formal speech, such as “perhaps”.")


AND = Ask("Active on “and” (100%).", score=0.314)


CONTEXTS = [
    ["<s>", " Yesterday", " the", " dog", " slept", ".\n", "\t", "The"],
    ["<s>", " A", " pal", "imp", "sest", " is", " écrit", "!"],
    ["<s>", " we", " saw", " the", " dog", " and", " the", " dog"],
]


READING: list[Callable[[LLM], Simulator]] = [
    AllAtOnce,
    lambda llm: AllAtOnce(llm, show_score=True),
    LastToken,
]
"""The simulators that read probabilities."""


@pytest.fixture(scope="module")
def llm(model_cache: Path) -> TransformersLLM:
    subject = smollm2(model_cache)
    return TransformersLLM(subject.model, subject.tokenizer)


def shown(token: str) -> str:
    return token.replace("\n", "\\n").replace("\t", "\\t")


def expected_digits(llm: TransformersLLM, pieces: list[str], places: int) -> list[float]:
    """The expected digit after each of the last pieces of a text, by one plain forward pass and
    by hand."""
    ids, read_at = [], []
    for piece in pieces:
        ids += llm.encode(piece)
        read_at.append(len(ids) - 1)
    with torch.inference_mode():
        logits = llm.model(torch.tensor([ids])).logits[0, read_at[-places:]].double()
    digits = [llm.tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
    weights = [[float(row[digit].exp()) for digit in digits] for row in logits]
    return [sum(d * weight for d, weight in enumerate(row)) / sum(row) for row in weights]


def asked(version: str, ask: Ask) -> list[str]:
    """The prompt with the explanation in it, cut before the explanation."""
    whole = prompts.template(version).replace("{explanation}", ask.explanation)
    at = whole.rindex(f" {ask.explanation}")
    return [whole[:at], whole[at:]]


def one(simulator: Simulator, ask: Ask, contexts: Any = CONTEXTS, first: int = 1) -> Simulated:
    (found,) = simulator.simulate([ask], contexts, first_position=first)
    return found


def test_all_at_once_reads_a_digit_after_every_token_of_one_text(llm: TransformersLLM) -> None:
    found = one(AllAtOnce(llm), DOG)
    for values, context in zip(found.values, CONTEXTS, strict=True):
        lines = [f"{shown(token)}\t" for token in context[1:]]
        text = [*asked("all_at_once-1", DOG), lines[0], *(f"\n{line}" for line in lines[1:])]
        np.testing.assert_allclose(values[1:], expected_digits(llm, text, 7), atol=1e-3)
    assert (found.failures, found.missing, found.tokens_written) == ({}, 0, 0)
    assert found.seconds > 0


def test_last_token_asks_about_each_token_with_the_text_before_it(llm: TransformersLLM) -> None:
    found = one(LastToken(llm), DOG)
    for row, position in [(0, 1), (0, 5), (0, 7), (2, 4)]:
        *earlier, last = map(shown, CONTEXTS[row][1 : position + 1])
        text = f"Text: {''.join(earlier)}<<{last}>>\nActivation:\t"
        (expected,) = expected_digits(llm, [*asked("last_token-1", DOG), text], 1)
        assert found.values[row, position] == pytest.approx(expected, abs=1e-3)


def test_last_token_shows_32_tokens_at_most(llm: TransformersLLM) -> None:
    numbers = [f" {i}" for i in range(40)]
    found = one(LastToken(llm), DOG, [["<s>", *numbers]], first=6).values[0]
    for position, window in [(40, numbers[8:40]), (37, numbers[5:37]), (10, numbers[5:10])]:
        *earlier, last = window
        text = f"Text: {''.join(earlier)}<<{last}>>\nActivation:\t"
        (expected,) = expected_digits(llm, [*asked("last_token-1", DOG), text], 1)
        assert found[position] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("score", [0.314, None])
def test_the_score_is_shown_if_that_is_wanted(llm: TransformersLLM, score: float | None) -> None:
    ask = Ask(AND.explanation, score)
    simulator = AllAtOnce(llm, show_score=True)
    assert (simulator.version, AllAtOnce(llm).version) == ("all_at_once_score-1", "all_at_once-1")
    start, after = prompts.asking(simulator.version, ask)
    assert "Reliability: 0.91" in start
    reliability = "unknown" if score is None else "0.31"
    assert after == f" {AND.explanation}\nReliability: {reliability}\n"
    found = one(simulator, ask).values
    (expected,) = expected_digits(llm, [start, after, " Yesterday\t"], 1)
    assert found[0, 1] == pytest.approx(expected, abs=1e-3)
    # Whoever is not to be told the score is not told.
    plain = AllAtOnce(llm)
    np.testing.assert_array_equal(one(plain, ask).values, one(plain, Ask(ask.explanation)).values)


@pytest.mark.parametrize("make", READING)
def test_the_explanation_is_what_is_simulated(
    llm: TransformersLLM, make: Callable[[LLM], Simulator]
) -> None:
    simulator = make(llm)
    dog, other, again = simulator.simulate([DOG, AND, DOG], CONTEXTS, first_position=1)
    for found in (dog, other, again):
        assert np.isnan(found.values[:, 0]).all()
        assert ((found.values[:, 1:] >= 0) & (found.values[:, 1:] <= 9)).all()
    assert np.nanmax(np.abs(other.values - dog.values)) > 0.1
    # Simulating something else in between changes nothing.
    np.testing.assert_array_equal(again.values, dog.values)


def test_all_at_once_finds_the_dogs(llm: TransformersLLM) -> None:
    # The two dogs of the last context stand out from its five other words.
    dog = one(AllAtOnce(llm), DOG).values
    assert dog[2, [4, 7]].min() > dog[2, [1, 2, 3, 5, 6]].max()


@pytest.mark.parametrize("make", READING)
def test_contexts_do_not_see_each_other(
    llm: TransformersLLM, make: Callable[[LLM], Simulator]
) -> None:
    together = one(make(llm), DOG).values
    for row, context in enumerate(CONTEXTS):
        alone = one(make(llm), DOG, [context]).values
        np.testing.assert_allclose(alone[0], together[row], atol=1e-3)


@pytest.mark.parametrize("make", [*READING, JsonReply])
def test_positions_before_the_first_are_not_simulated_and_not_missing(
    llm: TransformersLLM, make: Callable[[LLM], Simulator]
) -> None:
    found = one(make(llm), DOG, CONTEXTS[:1], first=3)
    assert found.values.shape == (1, 8)
    assert np.isnan(found.values[0, :3]).all()
    assert np.isnan(found.values[0, 3:]).sum() == found.missing <= 5


@pytest.mark.parametrize("make", [*READING, JsonReply])
def test_what_cannot_be_read_is_missing_and_counted(
    llm: TransformersLLM, make: Callable[[LLM], Simulator]
) -> None:
    whole = one(make(llm), DOG)
    # More than the model can read in one go: with last_token, which shows 32 tokens, no more.
    long = " dog" * 8200
    contexts = [*CONTEXTS[:2], ["<s>", " we", long, " the", " dog", " and", " the", " dog"]]
    found = one(make(llm), DOG, contexts)
    missing = np.isnan(found.values[2, 1:])
    # A text that can be read up to there is read up to there with a prompt a position.
    expected = 6 if isinstance(make(llm), LastToken) else 7
    assert missing.sum() == expected
    assert found.failures["The text is too long for the model."] == expected
    np.testing.assert_allclose(found.values[:2], whole.values[:2], atol=1e-3)


OUT_OF_PLACE = "The reply loses its place in the text."


NO_NUMBER = "The reply gives no number from 0 to 9."


TOO_SHORT = "The reply ends before the text does."


NO_JSON = "The reply is no JSON list."


CUT = "The reply was cut off before this token."


def test_json_is_asked_of_the_real_model_and_what_it_says_is_counted(llm: TransformersLLM) -> None:
    found = one(JsonReply(llm), DOG)
    values: NDArray[np.float32] = found.values[:, 1:]
    assert np.isnan(values).sum() == found.missing
    assert (values[~np.isnan(values)] >= 0).all()
    assert set(found.failures) <= {OUT_OF_PLACE, NO_NUMBER, TOO_SHORT, NO_JSON, CUT}
    assert found.tokens_read > 3 * 257
    assert 0 < found.tokens_written <= 3 * 7 * json_reply.TOKENS_WRITTEN


def text_of(seq: int) -> list[str]:
    words = "It was the best of times, it was the worst of times; we had everything before us."
    return ["<s>", *(f" {word}" for word in (words.split() * seq)[:seq])]


@pytest.mark.parametrize("seq", [8, 40])
@pytest.mark.parametrize(
    ("method", "make"), [("all_at_once", AllAtOnce), ("last_token", LastToken)]
)
def test_the_usage_is_known_before(
    llm: TransformersLLM, method: str, make: Callable[[LLM], Simulator], seq: int
) -> None:
    simulator, contexts = make(llm), [text_of(seq)] * 2
    one(simulator, DOG, contexts[:1], first=seq)  # the instructions are read and kept
    found = one(simulator, WORDY, contexts)
    length = len(WORDY.explanation)
    expected = SIMULATORS[method].usage(1, length=length, contexts=2, seq=seq)
    assert expected.read == pytest.approx(found.tokens_read, rel=0.2)
    assert expected.written == found.tokens_written == 0


@pytest.mark.parametrize("seq", [8, 40])
def test_the_usage_of_a_json_reply_is_known_before(llm: TransformersLLM, seq: int) -> None:
    length = len(WORDY.explanation)
    expected = SIMULATORS["json_reply"].usage(1, length=length, contexts=2, seq=seq)
    tokens = text_of(seq)[1:]
    asked = chat_ids(llm.tokenizer, [json_reply.message(WORDY, tokens)])
    assert expected.read == pytest.approx(2 * len(asked), rel=0.2)
    reply = json.dumps([[token, 0] for token in tokens])
    assert expected.written == pytest.approx(2 * len(llm.encode(reply)), rel=0.2)
