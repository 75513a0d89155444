"""Have a language model judge explanations: detection and fuzzing."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.corpus.contexts import ContextSet
from interp.errors import InputError
from interp.scoring.judge import Task, cases, judge
from models import Explanation, Job, Latent, Score, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import llm_of, real_activations
from workers.tasks.rows import context_strings, documents_of, fields, first_position

CASES = 25
"""Texts of each kind that a judge is asked about."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Judge the job's explanations, each by both tasks, on the calibrate set."""
    described = job.params.get("llm") or {}
    if not described.get("model"):
        raise InputError("A judge is a language model: say which.")
    llm = llm_of(described, described["model"])
    ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
    documents = documents_of(session, ids)
    explanations = _explanations(session, job)
    total = len(explanations) * len(Task)
    for number, explanation in enumerate(explanations):
        latent = session.get_one(Latent, explanation.latent_id)
        real = real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids))
        for place, task in enumerate(Task, 1):
            about = {"model": llm.name, "prompt_version": task.version, "job": job.id}
            if session.scalar(
                select(Score.id).where(
                    Score.explanation_id == explanation.id,
                    Score.name == str(task),
                    Score.details["job"].as_integer() == job.id,
                )
            ):
                continue
            some = cases(
                task,
                strings,
                real,
                documents,
                first_position=first_position(study),
                count=CASES,
                seed=study.seed,
            )
            judged = judge(llm, task, explanation.text, some, seed=study.seed)
            value, low, high = fields(judged.balanced_accuracy).values()
            session.add(
                Score(
                    explanation_id=explanation.id,
                    simulator_id=None,
                    name=str(task),
                    value=value,
                    low=low,
                    high=high,
                    n=judged.examples,
                    details=about
                    | {
                        "auroc": fields(judged.auroc),
                        "floor": 0.5,
                        "failures": judged.failures,
                        "tokens_read": judged.tokens_read,
                        "tokens_written": judged.tokens_written,
                        "seconds": judged.seconds,
                    },
                )
            )
            session.commit()
            publish(study.id, "latent", latent.id)
            yield Progress(
                number * len(Task) + place,
                total,
                "judgements",
                f"latent {latent.index}, {task}",
                sum(judged.failures.values()),
                judged.tokens_read,
                judged.tokens_written,
            )


def _explanations(session: Session, job: Job) -> list[Explanation]:
    wanted = job.params.get("explanation_ids") or []
    rows = session.scalars(select(Explanation).where(Explanation.id.in_(wanted)))
    found = {row.id: row for row in rows}
    if not wanted:
        raise InputError("Say which explanations are to be judged.")
    if unknown := [i for i in wanted if i not in found]:
        raise InputError(f"There is no explanation {unknown[0]}.")
    return [found[i] for i in wanted]
