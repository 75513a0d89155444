"""Improve an explanation by its worst errors, as long as it helps.

The errors come from the calibrate set, and a new explanation is kept if its score there rises. That
score is the best of several on the documents that chose it, so it is optimistic. So half of the
calibrate documents are held out, and choose neither errors nor explanations. Judge a refined
explanation by its score on them. A score on the whole calibrate set mixes both halves and is
optimistic too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.errors import ItemError
from interp.explain import prompts
from interp.explain.answers import Explained, ask
from interp.explain.errors import worst_errors as worst_errors
from interp.explain.explainer import Asking, LatentRecord
from interp.explain.prompts import Shown
from interp.llm.llm import LLM, Message
from interp.scoring.calibrate import fit
from interp.scoring.scores import Scores, halves, score
from interp.simulate.protocol import Simulated
from interp.vocabulary import CalibrationMethod

ERRORS = 5
"""Errors of each kind that are shown at once."""
ROUNDS = 3
"""The most explanations that are tried."""


class Step(NamedTuple):
    """One explanation that was tried."""

    text: str | None
    """None if the language model gave none."""
    explained: Explained | None
    """What the language model answered; None for the explanation that was there at first."""
    simulated: Simulated | None
    """On the whole calibrate set; None if there was nothing new to simulate."""
    selection: Scores | None
    """On the half of the documents that errors and explanations are chosen on: optimistic."""
    held_out: Scores | None
    """On the other half."""
    kept: bool
    """Whether it is the best explanation so far, by the correlation on the selection half."""


def explain(explainer: Asking, latent: LatentRecord, llm: LLM) -> Iterator[Step]:
    """Refine a latent's current explanation, with a language model that proposes others.

    Raises:
        InputError: There is no simulator to try explanations with.
        ItemError: It has no explanation.
    """
    if latent.explanation is None:
        raise ItemError("it has no explanation to refine")
    trial = latent.trial()
    yield from refine(
        latent.explanation,
        propose=lambda chat: ask(llm, [chat])[0],
        simulate=trial.simulate,
        strings=trial.strings,
        real=trial.real,
        documents=trial.documents,
        examples=latent.shown,
        maximum=latent.maximum,
        first_position=latent.first_position,
        rounds=ROUNDS,
        seed=trial.seed,
    )


def refine(
    text: str,
    *,
    propose: Callable[[list[Message]], Explained],
    simulate: Callable[[str], Simulated],
    strings: Sequence[Sequence[str]],
    real: NDArray[np.floating],
    documents: Sequence[Any],
    examples: Sequence[Shown],
    maximum: float,
    first_position: int,
    rounds: int,
    seed: int,
) -> Iterator[Step]:
    """Propose, simulate, score. Keep the explanation and go on while the correlation rises.

    The first step is the given explanation itself. The last one is not kept, unless the rounds have
    run out or the simulation has no error left.

    Args:
        propose: Asks a language model, such as by :func:`interp.explain.answers.ask`.
        simulate: Simulates an explanation on the calibrate contexts, with a
            :class:`interp.simulate.protocol.Simulator`.
        strings: Token strings of the calibrate contexts.
        real: The latent's activations on them, shape (context, seq).
        documents: The document of each context.
        examples: Examples to show beside the errors, from the explain set.
        maximum: The latent's largest activation on the explain set.
        rounds: The most explanations that are proposed.
        seed: Fixes the halves of the documents and the intervals.
    """
    selecting = halves(documents, seed=seed)

    def tried(text: str, explained: Explained | None, simulated: Simulated) -> Step:
        selection, held_out = (
            score(
                simulated.values[half, first_position:].astype(np.float64),
                real[half, first_position:],
                [document for document, inside in zip(documents, half, strict=True) if inside],
                seed=seed,
            )
            for half in (selecting, ~selecting)
        )
        return Step(text, explained, simulated, selection, held_out, kept=True)

    best = tried(text, None, simulate(text))
    yield best
    for _ in range(rounds):
        assert best.text and best.simulated and best.selection
        if np.isnan(best.selection.correlation.value):
            return  # nothing there tells a better explanation from a worse one
        false_positives, false_negatives = worst_errors(
            _calibrated(best.simulated.values[selecting], real[selecting], first_position),
            real[selecting],
            [tokens for tokens, inside in zip(strings, selecting, strict=True) if inside],
            count=ERRORS,
        )
        if not false_positives and not false_negatives:
            return
        explained = propose(
            prompts.refine(
                best.text,
                examples,
                false_positives,
                false_negatives,
                maximum=maximum,
                first_position=first_position,
            )
        )
        if explained.text is None or explained.text == best.text:
            yield Step(explained.text, explained, None, None, None, kept=False)
            return
        step = tried(explained.text, explained, simulate(explained.text))
        assert step.selection
        if not step.selection.correlation.value > best.selection.correlation.value:
            yield step._replace(kept=False)
            return
        yield step
        best = step


def _calibrated(
    raw: NDArray[np.float32], real: NDArray[np.floating], first_position: int
) -> NDArray[np.float64]:
    values = raw[:, first_position:].ravel().astype(np.float64)
    fitted = fit(CalibrationMethod.QUANTILE, values, real[:, first_position:].ravel(), maximum=1.0)
    return fitted(raw)
