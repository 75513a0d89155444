"""A job's life: queued, running, and then finished, failed or cancelled.

One Celery message lets a worker go on with one job for one chunk of time. The module
``workers/turns.py`` chooses the job. The job's task (``workers/task.py``) plans units of work, and
says which of them are done. The task commits each finished unit. So a job that is cut short, even
by a killed worker, loses one unit and repeats none.

Every job ends. An error of its work ends it with a sentence. When a turn is cut short from outside,
the next worker that takes the job up counts it. ``MOST_SETBACKS`` of these in a row end the job
too.
"""

import logging
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.errors import InputError
from jobs.events import publish
from jobs.kinds import INTERACTIVE, ORDINARY, WAITED_FOR
from jobs.log import clean, note
from jobs.queue import WORK, celery
from jobs.status import ACTIVE
from models import Job, Study
from models.database import get_engine, new_session
from models.settings import get_settings
from workers import rates
from workers.interactive.serve import answer_between
from workers.pause import bulk_work_pauses, pause_between_modules
from workers.reasons import in_words, passes
from workers.task import Done
from workers.turns import SHARES, WORKER, let_go, served, take, unlock, waiting, wake_waiting

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
"""The longest wait of a worker for a database that went away."""


class Progress(NamedTuple):
    """The progress of a job."""

    done: int
    total: int
    unit: str
    """The things that these count."""

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"


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
    """One turn of a job. An error in it ends the job, or delays it."""
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
    """Note that this worker is at a job. None if the job has ended, or was cut short too often."""
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
        True if the work is done.
    """
    from workers.registry import task_of  # imports torch: a process forks before it does

    if INTERACTIVE not in served():
        pause_between_modules()
    study = session.get_one(Study, job.study_id)
    began = time.monotonic()
    deadline = began + get_settings().chunk_seconds
    task = task_of(job)
    others_pause = bulk_work_pauses if job.priority >= WAITED_FOR else nullcontext
    with others_pause():
        task.prepare(session, job, study)
        units = task.plan(session, job, study)
    total = sum(unit.size for unit in units)
    progress = Progress(sum(unit.done for unit in units), total, task.counts)
    if not _planned(session, job, progress, rates.planned(session, job, units)):
        return False
    for unit in units:
        while unit.done < unit.size:
            with others_pause():
                done = task.do(session, job, study, unit)
            upto = unit.size if done.part is None else done.part
            progress = progress._replace(done=progress.done + upto - unit.done)
            now = time.monotonic()
            SHARES.spent(job.priority, now - began)
            known = rates.spent(job, unit, upto - unit.done, now - began)
            unit = unit._replace(done=upto)
            if not _record(session, job, progress, done, now - began, known):
                return False
            answer_between()
            began = time.monotonic()
            # After its last unit a job goes on to its end: it would be finished, and not say so.
            if progress.done < total and _gives_way(session, job, progress, now > deadline):
                return False
    task.finish(session, job, study)
    return True


def _gives_way(session: Session, job: Job, progress: Progress, over: bool) -> bool:
    """True if the job must end its turn, for another one to follow.

    It must as soon as somebody waits for another job and not for this one. The same holds if
    somebody waits for both, and the other has had no turn. Otherwise the turn ends when its time is
    over.
    """
    others = waiting(served()).where(Job.id != job.id).limit(1)
    first = session.execute(others).first()
    rank = SHARES.rank(job.priority)
    if first is not None and (
        SHARES.rank(first.priority) > rank
        or (first.priority == job.priority > ORDINARY and first.turn_at is None)
    ):
        note(session, job.id, "It waits: another job goes first.")
    elif not over:
        return False
    elif first is not None and first.priority == job.priority:
        note(session, job.id, f"{progress} done; other jobs have their turn.")
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


def _planned(session: Session, job: Job, progress: Progress, known: dict[str, Any]) -> bool:
    """Save what is planned and how much of it is done. False as :func:`_record`."""
    values = progress._asdict() if progress.total else {}
    return _update(session, job, **values, rates=known)


def _record(
    session: Session,
    job: Job,
    progress: Progress,
    done: Done,
    seconds: float,
    known: dict[str, Any],
) -> bool:
    """Save the progress and usage of the job. False if it was meanwhile cancelled, or deleted with
    its study.

    A message that is new goes into the job's log, and so does what came out missing.
    """
    spent = {
        "tokens_read": done.tokens_read,
        "tokens_written": done.tokens_written,
        "seconds": seconds,
    }
    before, message = job.message, clean(done.message)
    lines = []
    if message and message != before:
        lines.append(f"{_sentence(message)} ({progress}).")
    if done.missing:
        lines.append(f"{done.missing:,} came out missing, at {progress}.")
    return _update(
        session,
        job,
        *lines,
        **progress._asdict(),
        message=message,
        missing=Job.missing + done.missing,
        setbacks=0,
        rates=known,
        usage={name: job.usage.get(name, 0) + value for name, value in spent.items()},
    )


def _update(session: Session, job: Job, *lines: str, **values: Any) -> bool:
    """Save values of a running job, and lines of its log. False if it no longer runs."""
    here = update(Job).where(Job.id == job.id, Job.status == "running")
    # An update has to set something, if only to lock the row.
    changed = session.execute(here.values(values or {"status": "running"}))
    going_on = bool(changed.rowcount)  # type: ignore[attr-defined]
    if going_on:
        for line in lines:
            note(session, job.id, line)
    session.commit()
    publish(job.study_id, "job", job.id)
    if going_on:
        session.refresh(job)
    return going_on


def _sentence(message: str) -> str:
    """A message of a unit of work as it begins a line."""
    return message[:1].upper() + message[1:].rstrip(".")


def _end(job_id: int, status: str, message: str) -> bool:
    """End a running job. False, and no change, if it was cancelled meanwhile, or deleted."""
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
