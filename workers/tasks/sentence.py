"""Read a text that somebody typed: which latents fire, and what their explanations predict."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.coders.sentence import active_latents
from interp.errors import InputError
from interp.rewriting.generate import encode_prompt
from interp.simulate.protocol import Ask
from jobs.events import publish
from jobs.params import SentenceParams
from models import Explanation, Job, Latent, Score, Sentence, Simulator, Study
from workers.resources import coder_of, simulator_of, subject_of
from workers.task import Done, Task, Unit, remember
from workers.tasks.rows import token_texts
from workers.version import code_version

SIMULATED = 12
"""Latents whose explanations are simulated: those with the largest activations on the text."""


class ReadSentence(Task):
    """Finds what fires (``read``), then simulates explanation after explanation."""

    counts = "steps"

    def __init__(self, asked: SentenceParams) -> None:
        self.asked = asked

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Read the text, and note whose explanations are simulated: of the strongest latents."""
        sentence = self._sentence(session, study)
        if not sentence.tokens:
            _read(session, study, sentence)
        if "strongest" not in job.state:
            ids = _strongest(session, study, sentence)
            remember(session, job, strongest=ids)
            session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The text, which is read by then, and one explanation after another."""
        sentence = self._sentence(session, study)
        ids = job.state["strongest"]
        done = [int(sentence.simulation(number) is not None) for number in ids]
        simulate = [Unit("simulate", i, i + 1, there) for i, there in enumerate(done)]
        return [Unit("read", 0, 1, 1), *simulate]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Simulate one explanation on the text."""
        sentence = self._sentence(session, study)
        number = job.state["strongest"][unit.start]
        if sentence.simulation(number) is not None:
            return Done()
        explanation = session.get(Explanation, number)
        if explanation is None:  # an import was taken back
            return Done()
        latent = session.get_one(Latent, explanation.latent_id)
        simulator = session.get_one(Simulator, sentence.simulator_id)
        ask = Ask(explanation.text, _score(session, simulator, number), latent.index)
        (found,) = simulator_of(simulator, study).simulate(
            [ask], [sentence.strings], first_position=study.first_position
        )
        values = [float(v) if np.isfinite(v) else None for v in found.values[0]]
        made = {"values": values, "failures": found.failures}
        sentence.simulated = {**sentence.simulated, str(number): made}
        session.commit()
        publish(study.id, "sentence", sentence.id)
        message = "simulating the explanations of the strongest latents"
        return Done(message, found.missing, found.tokens_read, found.tokens_written)

    def _sentence(self, session: Session, study: Study) -> Sentence:
        sentence = session.get(Sentence, self.asked.sentence_id)
        if sentence is None or sentence.study_id != study.id:
            raise InputError("This sentence is not there any more. Try it again.")
        return sentence


def _read(session: Session, study: Study, sentence: Sentence) -> None:
    subject = subject_of(study)
    tokens = encode_prompt(subject, sentence.text, prepend_bos=study.prepend_bos, new_tokens=0)
    active = active_latents(subject, coder_of(study), tokens, first_position=study.first_position)
    sentence.tokens = tokens
    sentence.strings = token_texts(subject.tokenizer, tokens)
    sentence.active = [[[index, value] for index, value in latents] for latents in active]
    sentence.code_version = code_version()
    session.commit()
    publish(study.id, "sentence", sentence.id)


def _strongest(session: Session, study: Study, sentence: Sentence) -> list[int]:
    """Explanations of the latents with the largest activations, strongest first.

    Latents without an explanation are passed over. Without a simulator there are none.
    """
    if sentence.simulator_id is None:
        return []
    peaks: dict[int, float] = {}
    for active in sentence.active:
        for index, value in active:
            peaks[int(index)] = max(peaks.get(int(index), 0.0), value)
    rows = session.execute(
        select(Latent.explanation_id, Latent.index).where(
            Latent.study_id == study.id,
            Latent.index.in_(peaks),
        )
    )
    found = [(number, index) for number, index in rows if number is not None]
    return [number for number, _ in sorted(found, key=lambda one: -peaks[one[1]])][:SIMULATED]


def _score(session: Session, simulator: Simulator, explanation_id: int) -> float | None:
    """The correlation of an explanation, where the simulator is one that is told it."""
    if not simulator.options.get("show_score"):
        return None
    return session.scalar(
        select(Score.value)
        .where(
            Score.explanation_id == explanation_id,
            Score.simulator_id == simulator.id,
            Score.name == "correlation",
            Score.value.is_not(None),
        )
        .order_by(Score.id.desc())
        .limit(1)
    )
