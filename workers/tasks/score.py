"""Score explanations with a language model: detection and fuzzing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.llm.llm import LLM
from interp.scoring.scorer import Scored, Scorer, cases, score
from interp.vocabulary import ContextSet
from jobs.events import publish
from jobs.params import ScoreParams
from models import Explanation, Job, Latent, Score, Study
from models.base import among
from workers.resources import llm_of, real_activations
from workers.task import Done, Task, Unit
from workers.tasks.rows import context_strings, documents_of, fields

CASES = 25
"""Texts of each kind that the model is asked about."""


class ScoreWithModel(Task):
    """Scores the job's explanations on the calibrate set. One explanation by one of the two scorers
    is a unit."""

    counts = "scores"

    def __init__(self, asked: ScoreParams) -> None:
        self.asked = asked
        self._text: tuple[list[int], list[list[str]]] = [], []

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """See that the model and the explanations are there."""
        self._llm()
        wanted = self.asked.explanation_ids
        if not wanted:
            raise InputError("Say which explanations are to be scored.")
        found = set(session.scalars(select(Explanation.id).where(among(Explanation.id, wanted))))
        if unknown := [number for number in wanted if number not in found]:
            raise InputError(f"There is no explanation {unknown[0]}.")

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Both scorers for one explanation after another."""
        wanted = self.asked.explanation_ids
        rows = session.execute(
            select(Score.explanation_id, Score.name).where(
                among(Score.explanation_id, wanted), _by(job)
            )
        )
        done = {(number, name) for number, name in rows}
        return [
            Unit(str(scorer), place, place + 1, int((number, str(scorer)) in done))
            for place, number in enumerate(wanted)
            for scorer in Scorer
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Score one explanation."""
        scorer, number = Scorer(unit.name), self.asked.explanation_ids[unit.start]
        there = select(Score.id).where(
            Score.explanation_id == number, Score.name == str(scorer), _by(job)
        )
        if session.scalar(there.limit(1)) is not None:
            return Done()
        explanation = session.get_one(Explanation, number)
        latent = session.get_one(Latent, explanation.latent_id)
        if not self._text[0]:
            self._text = context_strings(session, study, ContextSet.CALIBRATE)
        ids, strings = self._text
        some = cases(
            scorer,
            strings,
            real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids)),
            documents_of(session, ids),
            first_position=study.first_position,
            count=CASES,
            seed=study.seed,
        )
        llm = self._llm()
        scored = score(llm, scorer, explanation.text, some, seed=study.seed)
        value, low, high = fields(scored.balanced_accuracy).values()
        about = {"model": llm.name, "prompt_version": scorer.version, "job": job.id}
        session.add(
            Score(
                explanation_id=explanation.id,
                simulator_id=None,
                name=str(scorer),
                value=value,
                low=low,
                high=high,
                n=scored.examples,
                details=about | _details(scored),
            )
        )
        session.commit()
        publish(study.id, "latent", latent.id)
        return Done(
            f"latent {latent.index}, {scorer}",
            sum(scored.failures.values()),
            scored.tokens_read,
            scored.tokens_written,
        )

    def _llm(self) -> LLM:
        llm = self.asked.llm
        if llm is None or not llm.model:
            raise InputError("Scoring needs a language model: say which.")
        return llm_of(llm.model_dump(), llm.model)


def _by(job: Job) -> ColumnElement[bool]:
    """True if a score is of a job."""
    same: ColumnElement[bool] = Score.details["job"].as_integer() == job.id
    return same


def _details(scored: Scored) -> dict[str, Any]:
    return {
        "auroc": fields(scored.auroc),
        "random_baseline": 0.5,
        "failures": scored.failures,
        "tokens_read": scored.tokens_read,
        "tokens_written": scored.tokens_written,
        "seconds": scored.seconds,
    }
