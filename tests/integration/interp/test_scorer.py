"""Detection and fuzzing, answered by the real model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from interp.llm.templates import render
from interp.llm.tokens import beginning
from interp.llm.transformers import TransformersLLM
from interp.scoring.scorer import PROMPTS, Case, Scorer, score
from tests.engine import smollm2
from tests.scoring import CASES, Writer

ANIMALS = "Active on words for animals."


def yes_by_hand(llm: TransformersLLM, task: Scorer, case: Case) -> float:
    """The probability of yes after the whole prompt as one text, by a plain forward pass."""
    *worked, question = render(
        PROMPTS / f"{task.version}.jinja", explanation=ANIMALS, text=case.text
    )
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


@pytest.fixture(scope="module")
def llm(model_cache: Path) -> TransformersLLM:
    subject = smollm2(model_cache)
    return TransformersLLM(subject.model, subject.tokenizer)


def test_the_answer_is_the_distribution_over_yes_and_no(llm: TransformersLLM) -> None:
    stripped = [case._replace(text=case.text.strip()) for case in CASES]
    for task in Scorer:
        found = score(llm, task, ANIMALS, stripped, seed=0)
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
        again = score(llm, task, ANIMALS.replace(" ", "\n"), stripped[:1], seed=0)
        np.testing.assert_allclose(again.yes, found.yes[:1], atol=1e-4)


def test_without_probabilities_the_answer_is_read_from_what_is_written(
    llm: TransformersLLM,
) -> None:
    writer = Writer(llm)
    found = score(writer, Scorer.DETECTION, ANIMALS, CASES, seed=0)
    words = [(one.text or "").strip(" .\n").lower()[:3] for one in writer.answered]
    expected = [1.0 if word == "yes" else 0.0 if word[:2] == "no" else np.nan for word in words]
    np.testing.assert_array_equal(found.yes, expected)
    assert found.examples + sum(found.failures.values()) == 6
    assert found.examples > 0
    assert found.tokens_written == sum(one.tokens_written for one in writer.answered) > 0
