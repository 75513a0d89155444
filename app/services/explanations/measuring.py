"""Measure the loss effect of an explanation exactly, where it is only estimated."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.explanations.queries import simulate_jobs
from jobs.params import SimulateParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Job, Latent, LossEffect, Study


def measure(session: Session, study: Study, latent: Latent, user: str) -> Job:
    """Queue the exact measurement of a latent's loss effect. Commits the session.

    Raises:
        Conflict: It has no explanation, it is measured, or a job about it is on its way.
    """
    number = latent.explanation_id
    if number is None or study.simulator_id is None:
        raise Conflict(f"Latent {latent.index} has no explanation yet. Write one first.")
    there = select(LossEffect.id).where(
        LossEffect.explanation_id == number, LossEffect.simulator_id == study.simulator_id
    )
    if session.scalar(there.limit(1)) is not None:
        raise Conflict(f"The loss effect of latent {latent.index} is measured already.")
    if any(job.status in ACTIVE for job, _ in simulate_jobs(session, study, [number])):
        raise Conflict(f"A job about latent {latent.index} is on its way already.")
    order = SimulateParams(explanation_ids=(number,), simulator_id=study.simulator_id)
    return enqueue(session, study, order, by=user)
