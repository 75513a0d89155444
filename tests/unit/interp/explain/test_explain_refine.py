"""Refining an explanation: the errors that are shown, and when an explanation is kept."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from interp.explain.answers import Explained
from interp.explain.prompts import Shown
from interp.explain.refine import ERRORS, Step, refine, worst_errors
from interp.llm.llm import Message
from interp.scoring.scores import halves
from interp.simulate.protocol import Simulated
from tests.refining import TRUE, calibrate_set

NAN = np.nan
STRINGS = [["<s>", *(f"{word}{row}" for word in "abc")] for row in range(6)]


def test_the_worst_errors_worked_by_hand() -> None:
    real = np.array([[0, 0, 5, 0], [0, 0, 0, 0], [0, 8, 0, 2], [0, 3, 0, 0], [0, 0, 0, 0]], float)
    simulated = np.array(
        [
            [0, 1, 5, 2],  # too high by 1 and 2
            [0, 0, 6, 0],  # too high by 6
            [0, 3, 0, 0],  # too low by 5 and 2
            [0, NAN, 4, 0],  # too high by 4; what is missing is no error
            [0, 0, 0, 0],  # right
        ]
    )
    positives, negatives = worst_errors(simulated, real, STRINGS, count=2)
    assert [(e.tokens[1], e.position) for e in positives] == [("a1", 2), ("a3", 2)]
    assert [(e.tokens[1], e.position) for e in negatives] == [("a2", 1)]
    assert positives[0].simulated == [0, 0, 6, 0]
    assert positives[1].simulated == [0, 0, 4, 0]
    assert negatives[0].real == [0, 8, 0, 2]
    assert worst_errors(real, real, STRINGS, count=2) == ([], [])


def names(text: str, strings: list[list[str]]) -> Simulated:
    """A simulator of one rule: a token is active if the explanation names it."""
    values = np.array(
        [[9.0 * (token.strip() in text.split()) for token in row] for row in strings], "f4"
    )
    values[:, 0] = NAN
    return Simulated(values, {}, 10, 0, 0.1)


class Speaker:
    """Proposes given explanations in turn, and remembers what it was asked."""

    def __init__(self, *explanations: str | None) -> None:
        self.explanations: Iterator[str | None] = iter(explanations)
        self.asked: list[str] = []

    def __call__(self, chat: list[Message]) -> Explained:
        self.asked.append(chat[-1]["content"])
        text = next(self.explanations)
        return Explained(text, "" if text else "the answer is empty", text, 100, 10, 0.5)


def run(start: str, speaker: Speaker, rounds: int = 5, seed: int = 0) -> list[Step]:
    strings, real, documents = calibrate_set()
    return list(
        refine(
            start,
            propose=speaker,
            simulate=lambda text: names(text, strings),
            strings=strings,
            real=real,
            documents=documents,
            examples=[Shown(["<s>", "the", "cat"], [0, 0, 4.0])],
            maximum=4.0,
            first_position=1,
            rounds=rounds,
            seed=seed,
        )
    )


def test_explanations_are_kept_while_the_score_rises() -> None:
    speaker = Speaker("cat dog", "cat dog cow", "cat dog law", "never asked for")
    steps = run("cat tax", speaker)
    assert [(step.text, step.kept) for step in steps] == [
        ("cat tax", True),
        ("cat dog", True),
        ("cat dog cow", True),
        ("cat dog law", False),
    ]
    scores = [step.selection.correlation.value for step in steps if step.selection]
    assert scores[0] < scores[1] < scores[2] > scores[3]
    held_out = [step.held_out.correlation.value for step in steps if step.held_out]
    assert held_out[0] < held_out[2]
    assert all(a != b for a, b in zip(scores, held_out, strict=True))
    assert [step.explained is None for step in steps] == [True, False, False, False]
    assert steps[1].explained and steps[1].explained.tokens_written == 10


def test_the_prompt_shows_the_errors_of_the_best_explanation() -> None:
    speaker = Speaker("cat dog", "cat")
    run("cat tax", speaker)
    first, second = speaker.asked
    assert first.startswith("Explanation: cat tax\n")
    wrongly, missed = first.split("Wrongly said to be active:\n")[1].split("Missed:\n")
    assert "«tax»(said" in wrongly and "is 0)" in wrongly
    assert "«dog»(said 0, is" in missed or "«cow»(said 0, is" in missed
    assert len(missed.strip().splitlines()) == ERRORS
    assert second.startswith("Explanation: cat dog\n")
    assert "«cow»(said 0, is" in second


def test_errors_come_from_the_selection_half_only() -> None:
    _, _, documents = calibrate_set()
    for seed in range(3):
        speaker = Speaker("cat tax", "cat")
        run("cat law", speaker, rounds=1, seed=seed)
        shown = {int(row) for row in re.findall(r"\br(\d+)\b", speaker.asked[0])}
        assert len(shown) >= ERRORS
        assert shown <= set(np.flatnonzero(halves(documents, seed=seed)).tolist())


@pytest.mark.parametrize("explanation", [None, "cat"])
def test_no_new_explanation_ends_it(explanation: str | None) -> None:
    steps = run("cat", Speaker(explanation))
    assert [(step.text, step.kept) for step in steps] == [("cat", True), (explanation, False)]
    assert steps[1].explained is not None
    assert (steps[1].simulated, steps[1].selection, steps[1].held_out) == (None, None, None)


def test_rounds_are_counted() -> None:
    steps = run("cat", Speaker("cat dog", "cat dog cow"), rounds=1)
    assert [step.kept for step in steps] == [True, True]
    assert run("cat", Speaker(), rounds=0)[0].text == "cat"


def test_where_scores_tell_nothing_nothing_is_proposed() -> None:
    # No word of the text is named: a simulation that is the same everywhere has no correlation.
    assert len(run("nothing", Speaker())) == 1


def test_an_explanation_without_errors_is_left_alone() -> None:
    strings, _, documents = calibrate_set()
    flat = np.array([[9.0 * (w.strip() in TRUE) for w in row] for row in strings])
    steps = refine(
        "cat dog cow",
        propose=Speaker(),
        simulate=lambda text: names(text, strings),
        strings=strings,
        real=flat,
        documents=documents,
        examples=[],
        maximum=9.0,
        first_position=1,
        rounds=3,
        seed=0,
    )
    assert [step.text for step in steps] == ["cat dog cow"]
