"""The Celery app, its queues, and the events that workers send to browsers.

Imports no torch, so that the web app may import it. A message on a queue says only which job to
go on with; what the job is and how far it is stands in PostgreSQL.
"""

import json
from functools import cache

import redis
from celery import Celery
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Job, JobEvent
from models.settings import get_settings

RUN_JOB = "palimpsest.run_job"
"""The task of jobs: go on with one for one chunk of time."""

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

celery = Celery(
    "palimpsest",
    broker=get_settings().redis_url,
    include=["workers.jobs", "workers.deletion"],
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
    return redis.Redis.from_url(url)


def submit(session: Session, job: Job) -> Job:
    """Save a new job, or one to be retried, and put it on its queue. Commits the session."""
    job.status = "queued"
    job.message = ""
    job.finished_at = None
    session.add(job)
    session.flush()
    note(session, job.id, "Queued again." if job.attempts else f"Queued by {job.created_by}.")
    session.commit()
    send(job)
    publish(job.study_id, "job", job.id)
    return job


def note(session: Session, job_id: int, line: str) -> None:
    """Add a line to a job's log, and drop the oldest lines of one that is too long.

    A line that is the same as the last one is not repeated. The caller commits.
    """
    newest_first = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id.desc())
    last = session.scalar(newest_first.limit(1))
    if last is not None and last.text == line[:2000]:
        return
    # PostgreSQL stores no zero characters.
    session.add(JobEvent(job_id=job_id, text=line[:2000].replace("\0", "\ufffd")))
    session.flush()
    too_old = newest_first.with_only_columns(JobEvent.id).offset(LOG_LINES).limit(1)
    session.execute(
        delete(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id <= too_old.scalar_subquery())
    )


def send(job: Job) -> None:
    """Put a job on its queue, behind what waits there and is as urgent."""
    # With Redis, 0 is taken first and 9 last.
    priority = 0 if job.urgent else 9
    celery.send_task(RUN_JOB, [job.id], queue=QUEUES[job.kind], priority=priority)


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

    Events: ``job`` (data: job id) when a job's state or progress changed; ``latent`` (data: latent
    id) when a latent's explanation, simulations, scores or cost changed; ``latents`` when many
    did; ``chart`` when a rewrite has new points; ``generation`` (data: generation id) when a
    generation has another continuation; ``sentence`` (data: sentence id) when more is known of a
    sentence; ``checks`` when a sanity check has an outcome.
    """
    get_redis().publish(channel(study_id), json.dumps({"event": event, "data": data}))
