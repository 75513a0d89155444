"""Jobs in the database and on their queues."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.services.errors import Conflict, Forbidden, NotFound
from app.services.rows import read
from app.services.simulators.missing import Missing, missing_values
from interp.errors import InputError
from jobs import chain, queue
from jobs.events import publish as tell
from jobs.kinds import params_of
from jobs.log import note
from jobs.order import jobs_before
from jobs.params import Params
from jobs.progress import JobLine
from jobs.status import ACTIVE, STOPPED
from models import Explanation, Generation, Job, JobEvent, Latent, Sentence, Simulation, Study
from models.base import among

LINE = [getattr(Job, name) for name in JobLine._fields]
"""Columns of a line about a job."""
MISSING_WARNING = 0.05
"""From this share of missing values on, a page warns."""


EXPLANATION_IDS = func.coalesce(
    Job.params["explanation_ids"], Job.state["explanation_ids"], type_=JSONB
)
"""The explanations that a job names, or that its worker chose; NULL if it is about none."""


def explanations_of(job: Job) -> list[int]:
    """The explanations that a job names, or that its worker chose."""
    ids: list[int] = job.params.get("explanation_ids") or job.state.get("explanation_ids") or []
    return ids


def simulator_of(job: Job, study: Study) -> int | None:
    """The simulator of a simulate job."""
    named: int | None = job.params.get("simulator_id") or job.state.get("simulator_id")
    return named or study.simulator_id


class FailedPart(NamedTuple):
    """An explanation that values are missing of."""

    latent: int
    explanation: str
    missing: int
    reasons: dict[str, int]


class JobRow(NamedTuple):
    """A job with what the pages show beside it."""

    job: Job
    study: Study
    missing: Missing | None
    """What is missing now of what a simulate job has simulated, or of what another job was to
    make; None if nothing ever was."""
    before: int | None
    """How many jobs workers take up before it; None if it is not queued, or no worker serves it."""

    @property
    def warns(self) -> bool:
        """True if too many values are missing to trust the job's figures."""
        share = self.missing.share if self.missing else None
        return share is not None and share > MISSING_WARNING

    @property
    def ahead(self) -> Sequence[Params]:
        """The jobs that follow this one by themselves, in order."""
        if self.job.status not in ACTIVE:
            return []
        try:
            return chain.ahead(params_of(self.job))
        except InputError:  # an older version's parameters
            return []


def list_jobs(
    session: Session,
    study: Study | None = None,
    *,
    limit: int = 50,
    offset: int = 0,
    active_first: bool = False,
) -> tuple[list[JobRow], int]:
    """Jobs, newest first, and how many there are in all.

    Args:
        active_first: Those that run come before all others, and then those that wait.
    """
    there = Study.deleted_at.is_(None)
    query = select(Job, Study).join(Study, Study.id == Job.study_id).where(there)
    count = select(func.count()).select_from(Job).join(Study, Study.id == Job.study_id).where(there)
    if study is not None:
        query = query.where(Job.study_id == study.id)
        count = count.where(Job.study_id == study.id)
    if active_first:
        rank = case((Job.status == "running", 0), (Job.status == "queued", 1), else_=2)
        query = query.order_by(rank)
    rows = session.execute(query.order_by(Job.id.desc()).limit(limit).offset(offset))
    before = jobs_before(session)
    listed = [JobRow(job, of, _missing(session, job, of), before.get(job.id)) for job, of in rows]
    return listed, session.scalar(count) or 0


# The head of every page shows them: put together once, as that takes as long as running it.
_ACTIVE = select(*LINE).where(Job.status.in_(ACTIVE)).order_by(Job.id)
_ACTIVE_OF = _ACTIVE.where(Study.id == Job.study_id, Study.slug == bindparam("slug"))


def active_jobs(session: Session, slug: str | None) -> list[JobLine]:
    """Jobs of the study of this name, or of all, that wait or run, oldest first."""
    found = read(session, _ACTIVE if slug is None else _ACTIVE_OF, {"slug": slug})
    return [JobLine(*row) for row in found]


def latest_job(session: Session, study: Study, kind: str = "") -> Job | None:
    """The newest job of a study, of any kind if none is named."""
    query = select(Job).where(Job.study_id == study.id)
    if kind:
        query = query.where(Job.kind == kind)
    return session.scalar(query.order_by(Job.id.desc()).limit(1))


def get_job(session: Session, job_id: int) -> Job:
    """One job.

    Raises:
        NotFound: There is none of this number.
    """
    query = select(Job).join(Study, Study.id == Job.study_id)
    job = session.scalar(query.where(Job.id == job_id, Study.deleted_at.is_(None)))
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def list_events(session: Session, job: Job) -> list[JobEvent]:
    """The log of a job, oldest line first; of a long one, the newest lines."""
    query = select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id)
    return list(session.scalars(query))


def failed_parts(
    session: Session, job: Job, study: Study, *, limit: int
) -> tuple[list[FailedPart], int]:
    """Explanations of a simulate job that values are missing of now, most missing first, and how
    many there are."""
    explanation_ids = explanations_of(job)
    if job.kind != "simulate" or not explanation_ids:
        return [], 0
    rows = session.execute(
        select(Latent.index, Explanation.text, Simulation.missing, Simulation.failures)
        .join(Explanation, Explanation.id == Simulation.explanation_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(
            among(Simulation.explanation_id, explanation_ids),
            Simulation.simulator_id == simulator_of(job, study),
            Simulation.missing > 0,
        )
        .order_by(Latent.index)
    )
    parts: dict[int, FailedPart] = {}
    for index, text, missing, failures in rows:
        part = parts.get(index, FailedPart(index, text, 0, {}))
        reasons = {
            reason: part.reasons.get(reason, 0) + failures.get(reason, 0)
            for reason in (*part.reasons, *failures)
        }
        parts[index] = part._replace(missing=part.missing + missing, reasons=reasons)
    found = sorted(parts.values(), key=lambda part: -part.missing)
    return found[:limit], len(found)


def job_latents(session: Session, job: Job, *, limit: int) -> tuple[list[int], int]:
    """Indices of the latents that a job is about, and how many there are; none if it is about the
    whole study."""
    if indices := job.params.get("latents"):
        return sorted(indices)[:limit], len(indices)
    ids = explanations_of(job)
    query = select(Latent.index).join(Explanation, Explanation.latent_id == Latent.id)
    query = query.where(among(Explanation.id, ids)).order_by(Latent.index).distinct()
    indices = list(session.scalars(query))
    return indices[:limit], len(indices)


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
    if cancelled is not None:
        note(session, job.id, "Cancelled.")
    session.commit()
    session.refresh(job)
    if cancelled is None:
        raise Conflict(f"Job {job.id} is {job.status} already, so it cannot be cancelled.")
    tell(job.study_id, "job", job.id)
    return job


def need_ended(session: Session, job_id: int | None) -> None:
    """Refuse to delete what a job is still making.

    Raises:
        Conflict: The job waits or runs.
    """
    status = session.scalar(select(Job.status).where(Job.id == job_id))
    if status in ACTIVE:
        raise Conflict(f"Job {job_id} is still at it: cancel the job, or wait for its end.")


def delete_own(session: Session, made: Generation | Sentence, user: str) -> None:
    """Delete what a person made and a job filled. Commits the session.

    Raises:
        Forbidden: Somebody else made it.
        Conflict: Its job waits or runs.
    """
    if made.created_by != user:
        raise Forbidden(
            f"Only {made.created_by}, who made it, can delete this {made.__tablename__}."
        )
    need_ended(session, made.job_id)
    session.delete(made)
    session.commit()


def retry_job(session: Session, job: Job) -> Job:
    """Queue a failed or cancelled job again. Its finished units are not repeated.

    Raises:
        Conflict: It waits, runs or has finished.
    """
    session.refresh(job, with_for_update=True)
    if job.status not in STOPPED:
        session.rollback()
        raise Conflict(
            f"Job {job.id} is {job.status}; only a failed or cancelled job can be retried."
        )
    return queue.retry(session, job)


def job_row(session: Session, job: Job) -> JobRow:
    """A job with what is shown beside it."""
    study = session.get_one(Study, job.study_id)
    return JobRow(job, study, _missing(session, job, study), jobs_before(session).get(job.id))


def _missing(session: Session, job: Job, study: Study) -> Missing | None:
    explanations = explanations_of(job)
    if not job.missing:
        return None
    if job.kind == "explain":
        return Missing(job.missing, job.done, job.state.get("failures", {}))
    if job.kind != "simulate" or not explanations:
        return None
    return missing_values(session, study, explanations, simulator_of(job, study))
