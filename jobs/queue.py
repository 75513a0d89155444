"""The queue: the only way to make a job, and the Celery app that wakes workers.

The table ``job`` is the queue. A Celery message says only that there is something to do. PostgreSQL
holds the jobs and their progress (see ``workers/turns.py``).

What people wait for has a queue and a worker of its own (:data:`jobs.kinds.INTERACTIVE`).
"""

import json
import logging
from collections.abc import Collection, Iterable, Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Text, bindparam, func, literal, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from jobs.events import get_redis, publish
from jobs.kinds import (
    BACKGROUND,
    INTERACTIVE,
    KINDS,
    QUEUES,
    WAITED_FOR,
    kind_of,
    params_of,
    priority_of,
    queue_of,
)
from jobs.log import note
from jobs.params import AttributeParams, Params, RewriteParams
from jobs.status import ACTIVE
from models import Generation, Job, Sentence, Study
from models.settings import get_settings

log = logging.getLogger(__name__)

WORK = "palimpsest.work"
"""The task of jobs: take the one whose turn it is, and go on with it for one chunk of time."""

ANSWER = "palimpsest.answer"
"""The task of requests: answer those that wait (:mod:`jobs.requests`)."""

REMOVE = "palimpsest.remove"
"""The task of deletions: remove the rows and files of what a person deleted."""

BEAT_SECONDS = 10
"""Seconds between two reports of a worker about the queues that it serves."""
SILENT_SECONDS = 45
"""After so long without a word, nobody counts as serving a queue."""
LOOK_SECONDS = 30
"""Seconds between two looks of a worker for jobs that no message announces."""

celery = Celery(
    "palimpsest",
    broker=get_settings().redis_url,
    include=[
        "workers.runner",
        "workers.interactive.serve",
        "workers.inspections.serve",
        "workers.deletion",
        "workers.watch",
    ],
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


def enqueue(
    session: Session,
    study: Study,
    params: Params,
    *,
    by: str,
    fills: Generation | Sentence | None = None,
    in_background: bool = False,
) -> Job:
    """Make a job and wake a worker for it. Commits the session.

    Without Redis the job is queued all the same: workers find it by themselves.

    Args:
        by: The person who asks for it.
        fills: A row that the job fills: it names the job from the same commit on.
        in_background: Nobody waits for the job, nor for those that follow it by themselves. They
            run when nothing ordinary waits.
    """
    highest = BACKGROUND if in_background else WAITED_FOR
    job, needless = _make(session, study.id, params, by, highest)
    if fills is not None:
        fills.job_id = job.id
    _announce(session, study.id, [job], needless)
    return job


def follow(session: Session, job: Job, when: str, orders: Sequence[Params]) -> None:
    """Make the jobs that follow another one, and wake workers for them. Commits the session.

    Args:
        when: At what point of the job. The jobs of one point are made once, and all in one commit:
            a worker that is killed around it loses none and repeats none.
    """
    if not orders:
        return
    session.refresh(job, with_for_update=True)
    queued = job.state.get("queued", [])
    if when in queued:
        session.commit()
        return
    job.state = {**job.state, "queued": [*queued, when]}
    # A job that was put into the background is there with all that follows it.
    put_there = job.priority == BACKGROUND < priority_of(params_of(job))
    highest = BACKGROUND if put_there else WAITED_FOR
    made = [_make(session, job.study_id, params, job.created_by, highest) for params in orders]
    jobs = [one for one, _ in made]
    _announce(session, job.study_id, jobs, [i for _, needless in made for i in needless])


def retry(session: Session, job: Job) -> Job:
    """Queue an ended job again. Finished units are not repeated. Commits the session."""
    job.status = "queued"
    job.message = ""
    job.finished_at = None
    job.setbacks = 0
    job.held_by = None
    job.state = {name: value for name, value in job.state.items() if name != "superseded_by"}
    note(session, job.id, "Queued again." if job.attempts else f"Queued by {job.created_by}.")
    _announce(session, job.study_id, [job], [])
    return job


def _make(
    session: Session, study_id: int, params: Params, by: str, highest: int
) -> tuple[Job, Sequence[int]]:
    """A new row, and the jobs that it makes needless. The caller commits.

    Args:
        highest: The job's priority, if that of its parameters is higher.
    """
    job = Job(
        study_id=study_id,
        kind=kind_of(params).name,
        params=params.stored(),
        state={},
        status="queued",
        priority=min(priority_of(params), highest),
        created_by=by,
    )
    session.add(job)
    session.flush()
    note(session, job.id, f"Queued by {by}.")
    # A later one does what this one would, with explanations that are newer.
    replaces = (isinstance(params, RewriteParams) and params.rewrite_id is not None) or (
        isinstance(params, AttributeParams) and params.renew
    )
    return job, _supersede(session, job) if replaces else []


def _supersede(session: Session, job: Job) -> Sequence[int]:
    """Cancel earlier jobs that do what this one does anew.

    The rest of an earlier rewrite is cancelled whether it has begun or not: measured points stay,
    and the new job takes over those that it shares. So at most one such job a protocol waits or
    runs. With the rest goes the main point on all contexts, which follows it. Estimates that have
    begun go on, or no edit in a row would ever have any.
    """
    rest = "rewrite_id" in job.params
    # A main point on all contexts replaces such ones only.
    apart = ["rewrite_id"] if "breadth" in job.params else ["rewrite_id", "breadth"]
    line = f"Superseded by job {job.id}, which measures a newer state."
    by = bindparam(None, {"superseded_by": job.id}, type_=JSONB)
    needless = session.scalars(
        update(Job)
        .where(
            Job.study_id == job.study_id,
            Job.kind == job.kind,
            Job.params.op("-")(literal(apart, ARRAY(Text)))
            == {name: value for name, value in job.params.items() if name not in apart},
            Job.params["rewrite_id"].astext.is_not(None) if rest else Job.turn_at.is_(None),
            Job.id < job.id,
            Job.status.in_(ACTIVE),
        )
        .values(
            status="cancelled",
            message=line,
            finished_at=func.now(),
            state=Job.state.op("||")(by),
        )
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).all()
    for job_id in needless:
        note(session, job_id, line)
    return needless


def _announce(
    session: Session, study_id: int, jobs: Sequence[Job], needless: Collection[int]
) -> None:
    """Commit jobs, wake workers for them, and tell browsers."""
    session.commit()
    queues = {job.id: _queue(job) for job in jobs}
    awake = {queue: wake(queue) for queue in set(queues.values())}
    if not all(awake.values()):
        line = "Redis cannot be reached, so no worker was woken. It starts once Redis answers again"
        for job in jobs:
            if not awake[queues[job.id]]:
                note(session, job.id, f"{line}; nothing is lost.")
        session.commit()
    for job_id in (*(job.id for job in jobs), *needless):
        publish(study_id, "job", job_id)


def _queue(job: Job) -> str:
    """The queue on which a job finds a worker just now."""
    queue = queue_of(job.kind, job.priority)
    return KINDS[job.kind].queue if queue == INTERACTIVE and INTERACTIVE in unserved() else queue


def wake(queue: str, task: str = WORK) -> bool:
    """Make sure that a message of a task is on a queue, so that a worker looks for what waits.

    Returns:
        False if Redis cannot be reached.
    """
    try:
        # The transport keeps a queue as a list. A message names its task in plain text.
        there = get_redis().lrange(queue, 0, -1)
        if not any(task.encode() in message for message in there):
            celery.send_task(task, queue=queue)
    except (OperationalError, RedisError, RuntimeError) as error:
        log.error("No worker was woken for the queue %s: %s", queue, error)
        return False
    return True


def beat(queues: Iterable[str]) -> None:
    """Say that a worker serves some queues. It holds for ``SILENT_SECONDS``."""
    own = [*queues]
    for queue in own:
        get_redis().set(_served_key(queue), json.dumps(own), ex=SILENT_SECONDS)


def unserved() -> frozenset[str]:
    """The queues that no worker has lately said to serve, or none if Redis cannot be asked."""
    try:
        return frozenset(QUEUES) - served_with().keys()
    except (RedisError, RuntimeError):
        return frozenset()


def served_with() -> dict[str, frozenset[str]]:
    """By each queue that a worker has lately said to serve, all queues of that worker.

    Raises:
        RedisError: Redis cannot be asked.
    """
    heard = get_redis().mget([_served_key(queue) for queue in QUEUES])
    words = zip(QUEUES, heard, strict=True)
    return {queue: frozenset(json.loads(word)) for queue, word in words if word is not None}


def _served_key(queue: str) -> str:
    return f"palimpsest:served:{queue}"


def send_removal(what: str, number: int, *, delay: float = 0) -> None:
    """Have a worker remove what hangs on a deleted study or simulator.

    Args:
        what: ``study`` or ``simulator``.
        delay: Seconds until a worker takes it up.
    """
    celery.send_task(REMOVE, [what, number], queue="cpu", priority=0, countdown=delay or None)
