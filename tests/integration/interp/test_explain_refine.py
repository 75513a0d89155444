"""Refining explanations with the real model."""

from pathlib import Path

from interp.explain.answers import ask
from interp.explain.prompts import Shown
from interp.explain.refine import refine
from interp.llm.transformers import TransformersLLM
from interp.simulate.prompted.all_at_once import AllAtOnce
from interp.simulate.protocol import Ask, Simulated
from tests.engine import smollm2
from tests.refining import calibrate_set


def test_a_round_with_a_real_model_and_a_real_simulator(model_cache: Path) -> None:
    subject = smollm2(model_cache)
    llm = TransformersLLM(subject.model, subject.tokenizer)
    simulator = AllAtOnce(llm)
    strings, real, documents = calibrate_set(4)

    def simulate(text: str) -> Simulated:
        (simulated,) = simulator.simulate([Ask(text, latent=3)], strings, first_position=1)
        return simulated

    steps = list(
        refine(
            "Active on words for laws and taxes.",
            propose=lambda chat: ask(llm, [chat])[0],
            simulate=simulate,
            strings=strings,
            real=real,
            documents=documents,
            examples=[Shown(["<s>", " the", " cat"], [0, 0, 4.0])],
            maximum=4.0,
            first_position=1,
            rounds=1,
            seed=0,
        )
    )
    first, second = steps
    assert first.simulated is not None and first.simulated.missing == 0
    assert first.selection is not None and first.held_out is not None
    # Each half is one document of two contexts of 13 tokens.
    assert first.selection.tokens == first.held_out.tokens == 2 * 13
    assert second.explained is not None and second.explained.answer
    assert (second.text is None) == (second.simulated is None) == bool(second.explained.failure)
    if second.selection is not None:
        before, after = (step.selection.correlation.value for step in (first, second))
        assert second.kept == (after > before)
