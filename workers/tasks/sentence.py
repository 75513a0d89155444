"""Read a text that somebody typed: which latents fire, and what their explanations predict."""

from collections.abc import Iterator

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.coders.sentence import active_latents
from interp.errors import InputError
from interp.rewriting.generate import encode_prompt
from interp.simulate.protocol import Ask
from models import Explanation, Job, Latent, Score, Sentence, Simulator, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import coder_of, simulator_of, subject_of
from workers.tasks.rows import first_position, token_texts
from workers.version import code_version

SIMULATED = 12
"""Latents whose explanations are simulated: those with the largest activations on the text."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Find what fires first, then simulate explanation after explanation.

    What is there already is kept: a job that is cut short goes on with the next explanation.
    """
    sentence = session.get(Sentence, job.params.get("sentence_id", 0))
    if sentence is None or sentence.study_id != study.id:
        raise InputError("This sentence is not there any more. Try it again.")
    if not sentence.tokens:
        _read(session, study, sentence)
    explanations = _strongest(session, study, sentence)
    total = 1 + len(explanations)
    yield Progress(1, total, "steps", "found what fires")
    if not explanations:
        return
    simulator_row = session.get_one(Simulator, sentence.simulator_id)
    simulator = simulator_of(simulator_row, study)
    scores = _scores(session, simulator_row, [e.id for e, _ in explanations])
    for number, (explanation, latent) in enumerate(explanations, 2):
        if sentence.simulation(explanation.id) is not None:
            continue
        ask = Ask(explanation.text, scores.get(explanation.id), latent)
        (found,) = simulator.simulate(
            [ask], [sentence.strings], first_position=first_position(study)
        )
        values = [float(v) if np.isfinite(v) else None for v in found.values[0]]
        made = {"values": values, "failures": found.failures}
        sentence.simulated = {**sentence.simulated, str(explanation.id): made}
        session.commit()
        publish(study.id, "sentence", sentence.id)
        yield Progress(
            number,
            total,
            "steps",
            "simulating the explanations of the strongest latents",
            found.missing,
            found.tokens_read,
            found.tokens_written,
        )


def _read(session: Session, study: Study, sentence: Sentence) -> None:
    subject = subject_of(study)
    tokens = encode_prompt(subject, sentence.text, prepend_bos=study.prepend_bos, new_tokens=0)
    active = active_latents(subject, coder_of(study), tokens, first_position=first_position(study))
    sentence.tokens = tokens
    sentence.strings = token_texts(subject.tokenizer, tokens)
    sentence.active = [[[index, value] for index, value in latents] for latents in active]
    sentence.code_version = code_version()
    session.commit()
    publish(study.id, "sentence", sentence.id)


def _strongest(session: Session, study: Study, sentence: Sentence) -> list[tuple[Explanation, int]]:
    """Explanations of the latents with the largest activations, strongest first.

    Latents without an explanation are passed over; without a simulator there are none.
    """
    if sentence.simulator_id is None:
        return []
    peaks: dict[int, float] = {}
    for active in sentence.active:
        for index, value in active:
            peaks[int(index)] = max(peaks.get(int(index), 0.0), value)
    rows = session.execute(
        select(Explanation, Latent.index.label("latent"))
        .join(Latent, Latent.explanation_id == Explanation.id)
        .where(Latent.study_id == study.id, Latent.index.in_(peaks))
    )
    found = [(explanation, latent) for explanation, latent in rows]
    return sorted(found, key=lambda one: -peaks[one[1]])[:SIMULATED]


def _scores(session: Session, simulator: Simulator, ids: list[int]) -> dict[int, float]:
    """Correlations, where the simulator is one that is told them."""
    if not simulator.options.get("show_score"):
        return {}
    rows = session.execute(
        select(Score.explanation_id, Score.value).where(
            Score.explanation_id.in_(ids),
            Score.simulator_id == simulator.id,
            Score.name == "correlation",
            Score.value.is_not(None),
        )
    )
    return {row.explanation_id: row.value for row in rows}
