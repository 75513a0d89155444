"""The Celery app, its queues, and the events that workers send to browsers.

Imports no torch, so that the web app may import it. A message on a queue says only that there is
something to do; what there is to do, and how far it is, stands in PostgreSQL (see
``workers/turns.py``).
"""

import json
import logging
from collections.abc import Iterable
from functools import cache

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from interp.cleaning import storable
from models import Job, JobEvent
from models.settings import get_settings

log = logging.getLogger(__name__)

WORK = "palimpsest.work"
"""The task of jobs: take the one whose turn it is, and go on with it for one chunk of time."""

REMOVE = "palimpsest.remove"
"""The other task: remove the rows and files of what a person deleted."""

QUEUES = {
    "collect": "gpu",
    "explain": "cpu",
    "judge": "gpu",
    "simulate": "gpu",
    "rewrite": "gpu",
    "generate": "gpu",
    "sentence": "gpu",
    "check": "gpu",
    "embed": "cpu",
}
"""Queue of each kind of job. A process that serves ``gpu`` takes one task at a time."""

LOG_LINES = 300
"""Lines that are kept of a job's log, the newest ones."""
LONGEST = 2000
"""Characters that are kept of a message or a line of a log."""
BEAT_SECONDS = 10
"""How often a worker says which queues it serves."""
SILENT_SECONDS = 45
"""After so long without a word, nobody counts as serving a queue."""
LOOK_SECONDS = 30
"""How often a worker looks for jobs that no message would bring up."""
REDIS_SECONDS = 5
"""How long to wait for an answer of Redis."""

celery = Celery(
    "palimpsest",
    broker=get_settings().redis_url,
    include=["workers.jobs", "workers.deletion", "workers.watch"],
)
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    task_default_queue="cpu",
    # A message of a worker that was killed outright goes to another one after this long.
    broker_transport_options={"visibility_timeout": 300},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@cache
def get_redis() -> redis.Redis:
    """The connection to Redis of this process.

    Raises:
        RuntimeError: ``REDIS_URL`` is not set.
    """
    url = get_settings().redis_url
    if url is None:
        raise RuntimeError("REDIS_URL is not set; start with `palimpsest up`, or set it.")
    return redis.Redis.from_url(
        url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
    )


def submit(session: Session, job: Job) -> Job:
    """Save a new job, or one to be retried, and wake a worker for it. Commits the session.

    Without Redis the job is queued all the same: workers find it by themselves.
    """
    job.status = "queued"
    job.message = ""
    job.finished_at = None
    job.setbacks = 0
    job.held_by = None
    job.params = {k: v for k, v in (job.params or {}).items() if k != "superseded_by"}
    session.add(job)
    session.flush()
    note(session, job.id, "Queued again." if job.attempts else f"Queued by {job.created_by}.")
    session.commit()
    if not wake(QUEUES[job.kind]):
        line = "Redis cannot be reached, so no worker was woken. It starts once Redis answers again"
        note(session, job.id, f"{line}; nothing is lost.")
        session.commit()
    publish(job.study_id, "job", job.id)
    return job


def supersede(session: Session, job: Job) -> None:
    """Cancel jobs that a new one makes needless: the same was asked for, and none has begun.

    Commits the session.
    """
    line = f"Superseded by job {job.id}, which was asked for the same later."
    needless = session.scalars(
        update(Job)
        .where(
            Job.study_id == job.study_id,
            Job.kind == job.kind,
            Job.params == job.params,
            Job.id < job.id,
            Job.status == "queued",
            Job.turn_at.is_(None),
        )
        .values(
            status="cancelled",
            message=line,
            finished_at=func.now(),
            params=job.params | {"superseded_by": job.id},
        )
        .returning(Job.id)
    ).all()
    for job_id in needless:
        note(session, job_id, line)
    session.commit()
    for job_id in needless:
        publish(job.study_id, "job", job_id)


def clean(text: str) -> str:
    """A text as PostgreSQL can store it, cut to a message's length."""
    return storable(text[:LONGEST])


def note(session: Session, job_id: int, line: str) -> None:
    """Add a line to a job's log, and drop the oldest lines of one that is too long.

    A line that is the same as the last one is not repeated. The caller commits.
    """
    line = clean(line)
    newest_first = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id.desc())
    last = session.scalar(newest_first.limit(1))
    if last is not None and last.text == line:
        return
    session.add(JobEvent(job_id=job_id, text=line))
    session.flush()
    too_old = newest_first.with_only_columns(JobEvent.id).offset(LOG_LINES).limit(1)
    session.execute(
        delete(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id <= too_old.scalar_subquery())
    )


def wake(queue: str) -> bool:
    """Make sure that a message about jobs is on a queue, so that a worker looks at the table.

    Returns:
        False if Redis cannot be reached.
    """
    try:
        # The transport keeps a queue as a list. A message names its task in plain text.
        there = get_redis().lrange(queue, 0, -1)
        if not any(WORK.encode() in message for message in there):
            celery.send_task(WORK, queue=queue)
    except (OperationalError, RedisError, RuntimeError) as error:
        log.error("No worker was woken for the queue %s: %s", queue, error)
        return False
    return True


def beat(queues: Iterable[str]) -> None:
    """Say that a worker serves some queues. It holds for ``SILENT_SECONDS``."""
    for queue in queues:
        get_redis().set(_served_key(queue), "1", ex=SILENT_SECONDS)


def unserved() -> frozenset[str]:
    """The queues that no worker has lately said to serve; none if Redis cannot be asked."""
    queues = sorted(set(QUEUES.values()))
    try:
        heard = get_redis().mget([_served_key(queue) for queue in queues])
    except (RedisError, RuntimeError):
        return frozenset()
    return frozenset(queue for queue, word in zip(queues, heard, strict=True) if word is None)


def _served_key(queue: str) -> str:
    return f"palimpsest:served:{queue}"


def send_removal(what: str, number: int, *, delay: float = 0) -> None:
    """Have a worker remove what hangs on a deleted study or simulator.

    Args:
        what: ``study`` or ``simulator``.
        delay: Seconds until a worker takes it up.
    """
    celery.send_task(REMOVE, [what, number], queue="cpu", priority=0, countdown=delay or None)


def channel(study_id: int) -> str:
    """Name of the Redis channel with a study's events."""
    return f"palimpsest:study:{study_id}"


def publish(study_id: int, event: str, data: int = 0) -> None:
    """Tell the browsers that look at a study what has changed.

    What changed is saved already, so that browsers see it later where Redis cannot be reached.

    Events: ``job`` (data: job id) when a job's state or progress changed; ``latent`` (data: latent
    id) when a latent's explanation, simulations, scores or cost changed; ``latents`` when many
    did; ``chart`` when a rewrite has new points; ``generation`` (data: generation id) when a
    generation has another continuation; ``sentence`` (data: sentence id) when more is known of a
    sentence; ``checks`` when a sanity check has an outcome.
    """
    try:
        get_redis().publish(channel(study_id), json.dumps({"event": event, "data": data}))
    except (RedisError, RuntimeError) as error:
        log.error("Browsers were not told of %s %s: %s", event, data, error)
