"""A job's life: queued, running, and then finished, failed or cancelled.

One Celery message lets a worker go on with one job for one chunk of time. The work itself is a
generator that commits after each unit and skips what is already there, so that a job which is cut
short anywhere, even by a killed worker, loses one unit and repeats none.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from celery.signals import worker_ready
from sqlalchemy import and_, or_, select, text, update
from sqlalchemy.orm import Session

from interp.errors import InputError
from models import Job, Study
from models.database import new_session
from models.settings import get_settings
from workers.queue import QUEUES, RUN_JOB, celery, note, publish, send

log = logging.getLogger(__name__)

LOCK = 7_236_001
"""First key of the advisory lock that keeps two workers off one job."""


class Progress(NamedTuple):
    """What a unit of work reports when it is done and committed."""

    done: int
    total: int
    unit: str
    message: str = ""
    missing: int = 0
    """Values that came out missing in this unit."""
    tokens_read: int = 0
    tokens_written: int = 0
    """What language models read and wrote for this unit."""


Work = Callable[[Session, Job, Study], Iterator[Progress]]


def _work(kind: str) -> Work:
    from workers.tasks import (
        check,
        collect,
        embed,
        explain,
        generate,
        judge,
        rewrite,
        sentence,
        simulate,
    )

    return {
        "collect": collect.run,
        "explain": explain.run,
        "judge": judge.run,
        "simulate": simulate.run,
        "rewrite": rewrite.run,
        "generate": generate.run,
        "sentence": sentence.run,
        "check": check.run,
        "embed": embed.run,
    }[kind]


@celery.task(name=RUN_JOB)
def run_job(job_id: int) -> None:
    """Go on with a job until it ends or its chunk of time is over."""
    with new_session() as session, new_session() as holder:
        # The lock belongs to the connection of `holder`: it ends with this process at the latest.
        lock = {"a": LOCK, "b": job_id}
        if not holder.scalar(text("SELECT pg_try_advisory_lock(:a, :b)"), lock):
            return
        try:
            _run(session, job_id)
        finally:
            holder.execute(text("SELECT pg_advisory_unlock(:a, :b)"), lock)


def _run(session: Session, job_id: int) -> None:
    job = session.get(Job, job_id)
    if job is None or job.status not in ("queued", "running"):
        return
    study = session.get_one(Study, job.study_id)
    if study.deleted_at is not None:
        return
    if job.status == "queued":
        job.attempts += 1
        job.started_at = job.started_at or datetime.now(UTC)
        job.status = "running"
        again = f", attempt {job.attempts}" if job.attempts > 1 else ""
        note(session, job.id, f"A worker took it up{again}.")
        session.commit()
        publish(study.id, "job", job.id)
    began = time.monotonic()
    deadline = began + get_settings().chunk_seconds
    try:
        for progress in _work(job.kind)(session, job, study):
            now = time.monotonic()
            if not _record(session, job, progress, now - began):
                publish(study.id, "job", job.id)
                return
            publish(study.id, "job", job.id)
            began = now
            if (waits := _gives_way(session, job)) or now > deadline:
                line = f"{_done(progress)} done; other jobs have their turn."
                note(session, job.id, "It waits: another job goes first." if waits else line)
                session.commit()
                send(job)
                return
    except InputError as error:
        _end(session, job, "failed", str(error))
    except Exception as error:
        log.exception("job %s failed", job.id)
        _end(session, job, "failed", f"{type(error).__name__}: {error}")
    else:
        _end(session, job, "finished", "")


def _gives_way(session: Session, job: Job) -> bool:
    """Whether another job of this queue goes first: one that somebody waits for; of two alike, the
    newer, which an edit brought about."""
    kinds = [kind for kind, queue in QUEUES.items() if queue == QUEUES[job.kind]]
    newer = Job.id > job.id
    first = select(Job.id).where(
        and_(Job.urgent, newer) if job.urgent else or_(Job.urgent, newer),
        Job.kind.in_(kinds),
        Job.status.in_(("queued", "running")),
    )
    return session.scalar(first.limit(1)) is not None


def _record(session: Session, job: Job, progress: Progress, seconds: float) -> bool:
    """Save how far the job is and what that took; False if it was cancelled in the meantime.

    A message that is new goes into the job's log, and so does what came out missing.
    """
    if progress.message and progress.message != job.message:
        note(session, job.id, f"{_sentence(progress.message)} ({_done(progress)}).")
    if progress.missing:
        note(session, job.id, f"{progress.missing:,} came out missing, at {_done(progress)}.")
    spent = {
        "tokens_read": progress.tokens_read,
        "tokens_written": progress.tokens_written,
        "seconds": seconds,
    }
    changed = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.status == "running")
        .values(
            done=progress.done,
            total=progress.total,
            unit=progress.unit,
            message=progress.message,
            missing=Job.missing + progress.missing,
            usage={name: job.usage.get(name, 0) + value for name, value in spent.items()},
        )
    )
    session.commit()
    session.refresh(job)
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def _done(progress: Progress) -> str:
    return f"{progress.done:,} of {progress.total:,} {progress.unit}"


def _sentence(message: str) -> str:
    """A message of a unit of work as it begins a line."""
    return message[:1].upper() + message[1:].rstrip(".")


def _end(session: Session, job: Job, status: str, message: str) -> None:
    session.rollback()
    ended = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.status == "running")
        .values(status=status, message=message[:2000], finished_at=datetime.now(UTC))
    )
    if ended.rowcount:  # type: ignore[attr-defined]
        note(session, job.id, f"Failed: {message}" if message else "Finished.")
    session.commit()
    publish(job.study_id, "job", job.id)


@worker_ready.connect
def resume_jobs(**_: object) -> None:
    """Put unfinished jobs back on their queues: a queue may have been lost, the table is not.

    A job that another worker is busy with is dropped there again, because that worker locks it.
    """
    with new_session() as session:
        unfinished = select(Job).where(Job.status.in_(("queued", "running"))).order_by(Job.id)
        for job in session.scalars(unfinished).all():
            if job.status == "running":
                note(session, job.id, "A worker started, and put it on the queue again.")
            send(job)
        session.commit()
