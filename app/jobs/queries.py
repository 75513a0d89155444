"""Jobs in the database and on their queues."""

import logging
from datetime import UTC, datetime
from typing import NamedTuple

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.simulators.queries import Missing, missing_values
from models import Job, Study
from workers import queue

log = logging.getLogger(__name__)

ACTIVE = ("queued", "running")
STOPPED = ("failed", "cancelled")
NOT_QUEUED = (
    "The job queue (Redis) cannot be reached, so this did not start. "
    "Nothing is lost: when it runs again, press Retry."
)
MISSING_WARNING = 0.05
"""From this share of missing values on, a page warns."""


class JobRow(NamedTuple):
    """A job with what the pages show beside it."""

    job: Job
    study: Study
    missing: Missing | None
    """What is missing now of what a simulate job has simulated, or of what another job was to
    make; None if nothing ever was."""

    @property
    def link(self) -> str | None:
        """The page that shows what the job makes, if there is one of its own."""
        if self.job.kind == "generate":
            return f"/studies/{self.study.slug}/generations/{self.job.params['generation_id']}"
        return f"/studies/{self.study.slug}/checks" if self.job.kind == "check" else None

    @property
    def warns(self) -> bool:
        """Whether so much is missing that its figures are in doubt."""
        share = self.missing.share if self.missing else None
        return share is not None and share > MISSING_WARNING


def submit(session: Session, job: Job) -> Job:
    """Save a job and queue it. Commits the session.

    When Redis cannot be reached, everything in the session is saved all the same, and the job is
    failed with a message that says so.
    """
    try:
        return queue.submit(session, job)
    except (OperationalError, RedisError, RuntimeError) as error:
        log.error("job %s could not be queued: %s", job.id, error)
        job.status = "failed"
        job.message = NOT_QUEUED
        job.finished_at = datetime.now(UTC)
        session.commit()
        return job


def tell(study_id: int, event: str, data: int) -> None:
    """Publish an event about what is saved already; without Redis, browsers see it later."""
    try:
        queue.publish(study_id, event, data)
    except (RedisError, RuntimeError) as error:
        log.error("browsers were not told of %s %s: %s", event, data, error)


def list_jobs(
    session: Session, study: Study | None = None, *, limit: int = 50, offset: int = 0
) -> tuple[list[JobRow], int]:
    """Jobs, newest first, and how many there are in all."""
    query = select(Job, Study).join(Study, Study.id == Job.study_id)
    count = select(func.count()).select_from(Job)
    if study is not None:
        query = query.where(Job.study_id == study.id)
        count = count.where(Job.study_id == study.id)
    rows = session.execute(query.order_by(Job.id.desc()).limit(limit).offset(offset))
    listed = [JobRow(job, of, _missing(session, job, of)) for job, of in rows]
    return listed, session.scalar(count) or 0


def active_jobs(session: Session, study: Study) -> list[Job]:
    """Jobs of a study that wait or run, oldest first."""
    query = select(Job).where(Job.study_id == study.id, Job.status.in_(ACTIVE)).order_by(Job.id)
    return list(session.scalars(query))


def latest_job(session: Session, study: Study) -> Job | None:
    """The newest job of a study."""
    query = select(Job).where(Job.study_id == study.id).order_by(Job.id.desc()).limit(1)
    return session.scalar(query)


def get_job(session: Session, job_id: int) -> Job:
    """One job.

    Raises:
        NotFound: There is none of this number.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def cancel_job(session: Session, job: Job) -> Job:
    """Stop a job that waits or runs; its worker notices before the next unit of work.

    Raises:
        Conflict: It has ended already.
    """
    cancelled = session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.status.in_(ACTIVE))
        .values(status="cancelled", finished_at=func.now())
        .returning(Job.id)
    )
    session.commit()
    session.refresh(job)
    if cancelled is None:
        raise Conflict(f"Job {job.id} is {job.status} already, so it cannot be cancelled.")
    tell(job.study_id, "job", job.id)
    return job


def retry_job(session: Session, job: Job) -> Job:
    """Queue a failed or cancelled job again. What it had finished is not repeated.

    Raises:
        Conflict: It waits, runs or has finished.
    """
    session.refresh(job, with_for_update=True)
    if job.status not in STOPPED:
        session.rollback()
        raise Conflict(
            f"Job {job.id} is {job.status}; only a failed or cancelled job can be retried."
        )
    return submit(session, job)


def job_row(session: Session, job: Job) -> JobRow:
    """A job with what is shown beside it."""
    study = session.get_one(Study, job.study_id)
    return JobRow(job, study, _missing(session, job, study))


def _missing(session: Session, job: Job, study: Study) -> Missing | None:
    explanations = job.params.get("explanation_ids")
    if not job.missing:
        return None
    if job.kind == "explain":
        return Missing(job.missing, job.done, job.params.get("failures", {}))
    if job.kind != "simulate" or not explanations:
        return None
    simulator_id = job.params.get("simulator_id") or study.simulator_id
    return missing_values(session, study, explanations, simulator_id)
