"""A job's life: queued, running, and then finished, failed or cancelled.

One Celery message lets a worker go on with one job for one chunk of time; ``workers/turns.py``
says with which. The work itself is a generator that commits after each unit and skips what is
already there, so that a job which is cut short anywhere, even by a killed worker, loses one unit
and repeats none.

Every job ends. What its work raises ends it with a sentence. A turn that is cut short from outside
is counted, by the next worker that takes the job up, and ``MOST_SETBACKS`` of these in a row end it
too.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.errors import InputError
from models import Job, Study
from models.database import get_engine, new_session
from models.job import ACTIVE
from models.settings import get_settings
from workers.queue import WORK, celery, clean, note, publish
from workers.reasons import in_words, passes
from workers.turns import WORKER, let_go, served, take, unlock, waiting, wake_waiting

log = logging.getLogger(__name__)

MOST_SETBACKS = 3
"""Turns in a row that may be cut short without progress. Then the job ends, or it would repeat the
same for ever, and take its worker along each time."""
CUT_SHORT = (
    f"It was cut short {MOST_SETBACKS} times in a row before it got any further; its log says what "
    "happened. Most often memory runs out, and the system kills the worker. Close what else uses "
    "memory, or choose a smaller model or fewer contexts; then retry."
)
DATABASE_SECONDS = 300
"""How long a worker waits for a database that went away."""


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


@celery.task(name=WORK)
def work() -> None:
    """Go on with the job whose turn it is, until it ends or its chunk of time is over."""
    queues = served()
    with get_engine().connect() as holder:
        job_id = take(holder, queues)
        if job_id is None:
            return
        try:
            wake_waiting(queues)  # other workers may have time for what is left
            _go_on(job_id)
            let_go(job_id)
        finally:
            unlock(holder, job_id)
    wake_waiting(queues)


def _go_on(job_id: int) -> None:
    """One turn of a job. Whatever goes wrong in it ends the job, or has it go on later."""
    try:
        with new_session() as session:
            job = _begin(session, job_id)
            done = job is not None and _turn(session, job)
        if done:
            _end(job_id, "finished", "")
    except Exception as error:
        # The session may be of no use, and what it held of the job stale: neither is touched.
        if passes(error):
            log.warning("job %s is cut short: %s", job_id, error)
            _go_on_later(job_id)
            return
        reference = uuid4().hex[:8]
        if not _end(job_id, "failed", in_words(error, reference)):
            log.info("job %s was cancelled or deleted while it ran", job_id)
        elif not isinstance(error, InputError):
            log.exception("job %s failed, reference %s", job_id, reference)


def _begin(session: Session, job_id: int) -> Job | None:
    """Note that this worker is at a job; None if it has ended, or was cut short too often."""
    job = session.get(Job, job_id, with_for_update=True)
    if job is None or job.status not in ACTIVE:
        return None
    died = job.held_by is not None
    if died:
        _count_setback(session, job, "The worker that was at it died")
    if job.setbacks >= MOST_SETBACKS:
        session.commit()
        _end(job_id, "failed", CUT_SHORT)
        return None
    if died or job.status == "queued":
        job.attempts += 1
        again = f", attempt {job.attempts}" if job.attempts > 1 else ""
        note(session, job_id, f"A worker took it up{again}.")
    job.started_at = job.started_at or datetime.now(UTC)
    job.turn_at = datetime.now(UTC)
    job.held_by = WORKER
    job.status = "running"
    session.commit()
    publish(job.study_id, "job", job_id)
    return job


def _turn(session: Session, job: Job) -> bool:
    """Do unit after unit until the work is done, the job is cancelled, or others go first.

    Returns:
        Whether the work is done.
    """
    study = session.get_one(Study, job.study_id)
    began = time.monotonic()
    deadline = began + get_settings().chunk_seconds
    for progress in _work(job.kind)(session, job, study):
        now = time.monotonic()
        if not _record(session, job, progress, now - began):
            return False
        began = now
        # After its last unit a job goes on to its end: it would be finished, and not say so.
        if progress.done < progress.total and _gives_way(session, job, progress, now > deadline):
            return False
    return True


def _gives_way(session: Session, job: Job, progress: Progress, over: bool) -> bool:
    """Whether another turn follows: at once if somebody waits for another job and not for this
    one, or waits for both and the other has had no turn; otherwise when its time is over."""
    others = waiting(served()).where(Job.id != job.id).limit(1)
    first = session.execute(others).first()
    if first is not None and first.urgent and not (job.urgent and first.turn_at):
        note(session, job.id, "It waits: another job goes first.")
    elif not over:
        return False
    elif first is not None and first.urgent == job.urgent:
        note(session, job.id, f"{_done(progress)} done; other jobs have their turn.")
    session.commit()
    return True


def _count_setback(session: Session, job: Job, what: str) -> None:
    job.setbacks += 1
    note(session, job.id, f"{what} ({job.setbacks} of {MOST_SETBACKS} without progress).")


def _go_on_later(job_id: int) -> None:
    """Wait until the database answers again, and note that the job was cut short.

    A worker can do nothing without it meanwhile. If it stays away, the note is not written, and
    the job counts as left by a worker that died.
    """
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            with new_session() as session:
                job = session.get(Job, job_id, with_for_update=True)
                if job is not None and job.held_by == WORKER:
                    _count_setback(session, job, "PostgreSQL broke off its work")
                    session.commit()
            return
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _record(session: Session, job: Job, progress: Progress, seconds: float) -> bool:
    """Save how far the job is and what that took; False if it was cancelled in the meantime, or
    deleted with its study.

    A message that is new goes into the job's log, and so does what came out missing.
    """
    spent = {
        "tokens_read": progress.tokens_read,
        "tokens_written": progress.tokens_written,
        "seconds": seconds,
    }
    before, message = job.message, clean(progress.message)
    changed = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.status == "running")
        .values(
            done=progress.done,
            total=progress.total,
            unit=progress.unit,
            message=message,
            missing=Job.missing + progress.missing,
            setbacks=0,
            usage={name: job.usage.get(name, 0) + value for name, value in spent.items()},
        )
    )
    going_on = bool(changed.rowcount)  # type: ignore[attr-defined]
    if going_on and message and message != before:
        note(session, job.id, f"{_sentence(message)} ({_done(progress)}).")
    if going_on and progress.missing:
        note(session, job.id, f"{progress.missing:,} came out missing, at {_done(progress)}.")
    session.commit()
    publish(job.study_id, "job", job.id)
    if going_on:
        session.refresh(job)
    return going_on


def _done(progress: Progress) -> str:
    return f"{progress.done:,} of {progress.total:,} {progress.unit}"


def _sentence(message: str) -> str:
    """A message of a unit of work as it begins a line."""
    return message[:1].upper() + message[1:].rstrip(".")


def _end(job_id: int, status: str, message: str) -> bool:
    """End a job that runs; False if it was cancelled meanwhile, or deleted: it is left alone."""
    with new_session() as session:
        study_id = session.scalar(
            update(Job)
            .where(Job.id == job_id, Job.status == "running")
            .values(status=status, message=clean(message), finished_at=datetime.now(UTC))
            .returning(Job.study_id)
        )
        if study_id is None:
            return False
        note(session, job_id, f"Failed: {message}" if message else "Finished.")
        session.commit()
    publish(study_id, "job", job_id)
    return True
