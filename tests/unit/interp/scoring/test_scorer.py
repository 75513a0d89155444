"""Detection and fuzzing: the cases, the questions, the scores."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from interp.llm.llm import Completion, Message
from interp.scoring.scorer import WINDOW, Case, Scorer, balanced_accuracy, cases, score
from tests.scoring import CASES, Writer

ANIMALS = "Active on words for animals."


def context(words: str) -> list[str]:
    return ["<s>", *(f" {word}" for word in words.split())]


def sampled(
    task: Scorer, real: Sequence[Sequence[float]], count: int = 50, seed: int = 0
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
    _, found = sampled(Scorer.DETECTION, real)
    # What a latent does on the beginning-of-sequence token does not count.
    yes = {case.text for case in found if case.answer}
    no = {case.text for case in found if not case.answer}
    assert yes == {"t1.1 t1.2", "t2.1 t2.2"}
    assert no == {"t0.1 t0.2", "t3.1 t3.2"}
    assert all(case.text.startswith(f"t{case.document[1:]}.") for case in found)
    _, few = sampled(Scorer.DETECTION, real, count=1)
    assert sorted(case.answer for case in few) == [False, True]


def test_long_contexts_are_cut_into_even_windows() -> None:
    real = np.zeros((2, 1 + 2 * WINDOW + 1))
    real[0, 1] = 1
    _, found = sampled(Scorer.DETECTION, real.tolist())
    assert [len(case.text.split()) for case in found if case.answer] == [22]
    assert sum(len(case.text.split()) for case in found) == 2 * (2 * WINDOW + 1)
    assert sum(case.answer for case in found) == 1
    assert len(found) == 6


def test_fuzzing_marks_the_active_tokens_or_as_many_others() -> None:
    real = np.zeros((40, 9))
    real[:, 3] = 1
    real[:, 4] = 2
    real[30:, 1:] = 1  # nothing else could be marked: left out
    _, found = sampled(Scorer.FUZZING, real.tolist(), count=10)
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
    for task in Scorer:
        assert sampled(task, real, 5, seed=1) == sampled(task, real, 5, seed=1)
        assert sampled(task, real, 5, seed=1) != sampled(task, real, 5, seed=2)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_balanced_accuracy_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, truth = rng.random(20) < 0.4, rng.random(20) < 0.5
    found = balanced_accuracy(predicted, truth, (np.arange(20) // 3).tolist(), seed=0)
    if truth.all() or not truth.any():
        assert np.isnan(found.value)
    else:
        assert found.value == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert found.low <= found.value <= found.high


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
    model = Said(
        Completion("Yes.", "", 50, 2),
        Completion("  no", "", 50, 1),
        Completion("**Answer:** No, there are only animals", "", 50, 8),
        Completion("Nothing of the kind", "", 50, 4),
        Completion(None, "the server timed out", 0, 0),
        Completion("It depends", "", 50, 3),
    )
    found = score(model, Scorer.DETECTION, ANIMALS, CASES, seed=0)
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
    model = Said(*[Completion(None, "the server is away", 0, 0)] * 6)
    found = score(model, Scorer.FUZZING, ANIMALS, CASES, seed=0)
    assert np.isnan([*found.balanced_accuracy, *found.auroc]).all()
    assert found.examples == 0
    assert found.failures == {"the server is away": 6}


def test_one_kind_of_case_only_is_no_score() -> None:
    model = Said(*[Completion("yes", "", 10, 1)] * 6)
    only: list[Case] = [case._replace(answer=True) for case in CASES]
    found = score(model, Scorer.DETECTION, ANIMALS, only, seed=0)
    assert np.isnan([found.balanced_accuracy.value, found.auroc.value]).all()
    assert found.examples == 6


def test_a_context_of_many_words_is_active_or_silent() -> None:
    real: NDArray[np.float64] = np.zeros((1, 4))
    found = cases(
        Scorer.DETECTION,
        [context("the «old» dog")],
        real,
        ["d"],
        first_position=1,
        count=1,
        seed=0,
    )
    # Marks in the text itself are not marks.
    assert found == [Case("the “old” dog", False, "d")]
