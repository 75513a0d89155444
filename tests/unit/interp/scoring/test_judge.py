"""Detection and fuzzing: the cases, the questions, the scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from interp.explain import prompts
from interp.llm.llm import Answers, Completion, Message, Query
from interp.llm.tokens import beginning
from interp.llm.transformers import TransformersLLM
from interp.scoring.judge import WINDOW, Case, Task, balanced_accuracy, cases, judge
from tests.engine import smollm2

ANIMALS = "Active on words for animals."
CASES = [
    Case(" the dog and the horse slept in the barn", True, "a"),
    Case(" a tax on land, to be paid in March", False, "a"),
    Case(" two cats, a cow and a sheep", True, "b"),
    Case(" the treaty was signed in Paris", False, "b"),
    Case(" birds sang in the garden", True, "c"),
    Case(" we borrowed the money from the bank", False, "c"),
]


def context(words: str) -> list[str]:
    return ["<s>", *(f" {word}" for word in words.split())]


def sampled(
    task: Task, real: Sequence[Sequence[float]], count: int = 50, seed: int = 0
) -> tuple[list[list[str]], list[Case]]:
    """Cases from contexts whose tokens are t0.1 (context 0, position 1), t0.2, …"""
    strings = [["<s>", *(f" t{r}.{i}" for i in range(1, len(row)))] for r, row in enumerate(real)]
    documents = [f"d{row}" for row in range(len(real))]
    found = cases(
        task,
        strings,
        np.array(real, float),
        documents,
        first_position=1,
        count=count,
        seed=seed,
    )
    return strings, found


def test_detection_asks_about_active_and_silent_windows() -> None:
    real = [[9, 0, 0], [0, 0, 2], [0, 3, 0], [0, 0, 0]]
    _, found = sampled(Task.DETECTION, real)
    # What a latent does on the beginning-of-sequence token does not count.
    yes = {case.text for case in found if case.answer}
    no = {case.text for case in found if not case.answer}
    assert yes == {"t1.1 t1.2", "t2.1 t2.2"}
    assert no == {"t0.1 t0.2", "t3.1 t3.2"}
    assert all(case.text.startswith(f"t{case.document[1:]}.") for case in found)
    _, few = sampled(Task.DETECTION, real, count=1)
    assert sorted(case.answer for case in few) == [False, True]


def test_long_contexts_are_cut_into_even_windows() -> None:
    real = np.zeros((2, 1 + 2 * WINDOW + 1))
    real[0, 1] = 1
    _, found = sampled(Task.DETECTION, real.tolist())
    assert [len(case.text.split()) for case in found if case.answer] == [22]
    assert sum(len(case.text.split()) for case in found) == 2 * (2 * WINDOW + 1)
    assert sum(case.answer for case in found) == 1
    assert len(found) == 6


def test_fuzzing_marks_the_active_tokens_or_as_many_others() -> None:
    real = np.zeros((40, 9))
    real[:, 3] = 1
    real[:, 4] = 2
    real[30:, 1:] = 1  # nothing else could be marked: left out
    _, found = sampled(Task.FUZZING, real.tolist(), count=10)
    assert sum(case.answer for case in found) == 10
    assert len(found) == 20
    assert len({case.document for case in found}) == 20
    for case in found:
        row = case.document[1:]
        assert int(row) < 30
        words = case.text.split()
        marked = {i + 1 for i, word in enumerate(words) if word.startswith("«")}
        assert len(words) == 8 and len(marked) == 2
        assert (marked == {3, 4}) == case.answer
        assert marked.isdisjoint({3, 4}) != case.answer


def test_the_seed_fixes_the_cases() -> None:
    real = (np.random.default_rng(0).random((60, 12)) < 0.05).tolist()
    for task in Task:
        assert sampled(task, real, 5, seed=1) == sampled(task, real, 5, seed=1)
        assert sampled(task, real, 5, seed=1) != sampled(task, real, 5, seed=2)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_balanced_accuracy_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said, truth = rng.random(20) < 0.4, rng.random(20) < 0.5
    found = balanced_accuracy(said, truth, (np.arange(20) // 3).tolist(), seed=0)
    if truth.all() or not truth.any():
        assert np.isnan(found.value)
    else:
        assert found.value == pytest.approx(balanced_accuracy_score(truth, said))
        assert found.low <= found.value <= found.high


@pytest.fixture(scope="module")
def llm(model_cache: Path) -> TransformersLLM:
    subject = smollm2(model_cache)
    return TransformersLLM(subject.model, subject.tokenizer)


def yes_by_hand(llm: TransformersLLM, task: Task, case: Case) -> float:
    """The probability of yes after the whole prompt as one text, by a plain forward pass."""
    *worked, question = prompts.chat(str(task.version), explanation=ANIMALS, text=case.text)
    text = ""
    for message in worked:
        text += message["content"] + ("\n\n" if message["role"] == "assistant" else " ")
    text += question["content"]
    assert text.endswith(f"Explanation: {ANIMALS}\nText: {case.text}\nAnswer:")
    with torch.inference_mode():
        ids = beginning(llm.tokenizer) + llm.encode(text)
        logits = llm.model(torch.tensor([ids])).logits[0, -1].double()
    yes, no = (logits[llm.encode(word)].exp().item() for word in (" yes", " no"))
    return yes / (yes + no)


def test_the_answer_is_the_distribution_over_yes_and_no(llm: TransformersLLM) -> None:
    stripped = [case._replace(text=case.text.strip()) for case in CASES]
    for task in Task:
        found = judge(llm, task, ANIMALS, stripped, seed=0)
        by_hand = [yes_by_hand(llm, task, case) for case in stripped[:2]]
        np.testing.assert_allclose(found.yes[:2], by_hand, atol=2e-3)
        truth = [case.answer for case in CASES]
        assert found.auroc.value == pytest.approx(roc_auc_score(truth, found.yes))
        expected = balanced_accuracy_score(truth, found.yes > 0.5)
        assert found.balanced_accuracy.value == pytest.approx(expected)
        assert found.examples == 6
        assert found.failures == {}
        assert found.tokens_written == 0 < found.tokens_read
        assert found.seconds > 0
        # The same explanation in several lines is the same question.
        again = judge(llm, task, ANIMALS.replace(" ", "\n"), stripped[:1], seed=0)
        np.testing.assert_allclose(again.yes, found.yes[:1], atol=1e-4)


class Writer:
    """The real model behind a server that gives no log-probabilities."""

    reads: Literal["nothing"] = "nothing"

    def __init__(self, llm: TransformersLLM) -> None:
        self.llm, self.name = llm, llm.name
        self.answered: list[Completion] = []

    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        self.answered = self.llm.complete(chats, max_tokens=max_tokens, temperature=temperature)
        return self.answered

    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        raise AssertionError("this model's distributions cannot be read")


def test_without_probabilities_the_answer_is_read_from_what_is_written(
    llm: TransformersLLM,
) -> None:
    writer = Writer(llm)
    found = judge(writer, Task.DETECTION, ANIMALS, CASES, seed=0)
    words = [(one.text or "").strip(" .\n").lower()[:3] for one in writer.answered]
    expected = [1.0 if word == "yes" else 0.0 if word[:2] == "no" else np.nan for word in words]
    np.testing.assert_array_equal(found.yes, expected)
    assert found.examples + sum(found.failures.values()) == 6
    assert found.examples > 0
    assert found.tokens_written == sum(one.tokens_written for one in writer.answered) > 0


class Said(Writer):
    """What some server answered."""

    def __init__(self, *answers: Completion) -> None:
        self.name, self.answered = "said", list(answers)

    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        assert [chat[-1]["content"].splitlines()[1] for chat in chats] == [
            f"Text: {case.text}" for case in CASES
        ]
        return self.answered


def test_an_unreadable_answer_is_missing_with_its_reason() -> None:
    said = Said(
        Completion("Yes.", "", 50, 2),
        Completion("  no", "", 50, 1),
        Completion("**Answer:** No, there are only animals", "", 50, 8),
        Completion("Nothing of the kind", "", 50, 4),
        Completion(None, "the server timed out", 0, 0),
        Completion("It depends", "", 50, 3),
    )
    found = judge(said, Task.DETECTION, ANIMALS, CASES, seed=0)
    np.testing.assert_array_equal(found.yes, [1, 0, 0, np.nan, np.nan, np.nan])
    assert found.failures == {
        "the answer is neither yes nor no": 2,
        "the server timed out": 1,
    }
    assert found.examples == 3
    # Of two that are active one is found; the silent one is right.
    assert found.balanced_accuracy.value == pytest.approx(3 / 4)
    assert found.auroc.value == pytest.approx(3 / 4)
    assert (found.tokens_read, found.tokens_written) == (250, 18)


def test_no_answer_at_all_is_no_score() -> None:
    said = Said(*[Completion(None, "the server is away", 0, 0)] * 6)
    found = judge(said, Task.FUZZING, ANIMALS, CASES, seed=0)
    assert np.isnan([*found.balanced_accuracy, *found.auroc]).all()
    assert found.examples == 0
    assert found.failures == {"the server is away": 6}


def test_one_kind_of_case_only_is_no_score() -> None:
    said = Said(*[Completion("yes", "", 10, 1)] * 6)
    only: list[Case] = [case._replace(answer=True) for case in CASES]
    found = judge(said, Task.DETECTION, ANIMALS, only, seed=0)
    assert np.isnan([found.balanced_accuracy.value, found.auroc.value]).all()
    assert found.examples == 6


def test_a_context_of_many_words_is_active_or_silent() -> None:
    real: NDArray[np.float64] = np.zeros((1, 4))
    found = cases(
        Task.DETECTION,
        [context("the «old» dog")],
        real,
        ["d"],
        first_position=1,
        count=1,
        seed=0,
    )
    # Marks in the text itself are not marks.
    assert found == [Case("the “old” dog", False, "d")]
