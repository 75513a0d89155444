"""Whose turn it is: the job that a worker goes on with next.

The table ``job`` is the queue. A message on Redis names no job. It only has a worker look at the
table, where the worker takes the first job that nobody holds. To hold a job is to hold a PostgreSQL
advisory lock, which ends with the holder's connection. So no message can be the wrong one or come
twice, and jobs go in the order of the table:

1. jobs of a higher priority: first those that somebody waits for, last those in the background,
2. the job whose last turn is longest ago, so that jobs alike alternate,
3. the oldest job.

A worker of its own takes the jobs that somebody waits for (the queue ``INTERACTIVE``). A worker of
another queue takes them only while none of that kind is there. A worker that does both gives at
least a third of its time to the others (:class:`Shares`).

No job that waits is forgotten. A job begins to wait when it is queued, or when a worker lets go of
it. After either, somebody calls :func:`wake`, which leaves at least one message on the job's queue.
A worker that takes this message looks at the table afterwards. It finds the job, or it takes
another one first. Then it wakes the queues of all jobs that are left, before it works and after it
has let go. So as long as a job waits, there is a message on its queue, or a worker at work that
will send one.

Two things break this chain: a process that is killed between its commit and its message, and a
Redis that loses its messages. So every worker looks at the table by itself every ``LOOK_SECONDS``
(``workers/watch.py``), and wakes the queues of jobs that wait.
"""

import os
import socket
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from jobs.kinds import BACKGROUND, INTERACTIVE, KINDS, WAITED_FOR, queue_of
from jobs.order import in_order
from jobs.queue import celery, unserved, wake
from jobs.status import ACTIVE
from models import Job, Study
from models.database import get_engine

LOCK = 7_236_001
"""First key of the advisory locks that keep two workers off one job. The second is the job's id."""
WORKER = f"{socket.gethostname()}:{os.getpid()}"
"""The name of this worker: its main process, of which those that work are forks."""
HELD = literal_column(
    "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid = {LOCK} AND objid = job.id AND objsubid = 2)",
    Boolean(),
)
"""True if a worker holds a job."""
_TO_DO = and_(
    Job.status.in_(ACTIVE),
    select(Study.id).where(Study.id == Job.study_id, Study.deleted_at.is_(None)).exists(),
)


def served() -> list[str]:
    """The queues that this worker serves."""
    return list(celery.amqp.queues.consume_from)


class Shares:
    """The time of this worker that jobs have had: those that somebody waits for, and the others.

    While both wait, the others get at least one second for each two, whatever people do. Within
    ``BURST`` seconds of debt a short wait is not made longer by it.
    """

    BURST = 6.0
    """Seconds that the worker may owe to the others. Then they go first, until it owes a third."""

    def __init__(self) -> None:
        self._owed = 0.0
        self.others_first = False
        """True if jobs that nobody waits for go first."""

    def spent(self, priority: int, seconds: float) -> None:
        """Count the time that a job has had."""
        change = seconds / 2 if priority >= WAITED_FOR else -seconds
        self._owed = min(max(self._owed + change, 0.0), 2 * self.BURST)
        self.others_first = self._owed > (self.BURST / 3 if self.others_first else self.BURST)

    def rank(self, priority: int) -> int:
        """The rank of a job of some priority just now: a higher one goes first."""
        return BACKGROUND - 1 if self.others_first and priority >= WAITED_FOR else priority


SHARES = Shares()
"""Of this process, which is the only one of its worker that works."""


def waiting(queues: Collection[str]) -> Select[int, str, int, datetime | None]:
    """Jobs that a worker of some queues may take and that nobody holds, first the one whose turn it
    is: the id, kind, priority, and when its last turn began."""
    rank: Any = Job.priority
    if SHARES.others_first:
        rank = case((Job.priority >= WAITED_FOR, BACKGROUND - 1), else_=Job.priority)
    return (
        select(Job.id, Job.kind, Job.priority, Job.turn_at)
        .where(_TO_DO, _of(queues), ~HELD)
        .order_by(*in_order(rank))
    )


def _of(queues: Collection[str]) -> ColumnElement[bool]:
    """The jobs that a worker of some queues may take."""
    own = Job.kind.in_([kind.name for kind in KINDS.values() if kind.queue in queues])
    if INTERACTIVE in queues:
        return or_(Job.priority >= WAITED_FOR, own)
    # They go to the interactive worker, if there is one.
    return own if INTERACTIVE in unserved() else and_(own, Job.priority < WAITED_FOR)


def take(holder: Connection, queues: Collection[str]) -> int | None:
    """Lock the job whose turn it is while the connection is open. None if no job waits."""
    for row in holder.execute(waiting(queues)).all():
        number: int = row.id
        if not holder.scalar(text("SELECT pg_try_advisory_lock(:a, :b)"), _keys(row.id)):
            continue
        # Another worker may have ended it before the lock was had, or somebody deleted the study:
        # that is removed once nobody holds a job of it.
        if holder.scalar(select(Job.id).where(Job.id == row.id, _TO_DO)):
            return number
        unlock(holder, row.id)
    return None


def unlock(holder: Connection, job_id: int) -> None:
    """Let others take a job. A connection that cannot say so any more is closed, which says it."""
    try:
        holder.execute(text("SELECT pg_advisory_unlock(:a, :b)"), _keys(job_id))
    except DBAPIError:
        holder.invalidate()


def let_go(job_id: int | None = None) -> None:
    """Note that this worker is no longer at a job, or at any, so that nobody takes it for dead."""
    mine = update(Job).where(Job.held_by == WORKER)
    if job_id is not None:
        mine = mine.where(Job.id == job_id)
    with get_engine().connect() as connection:
        connection.execute(mine.values(held_by=None))


def wake_waiting(queues: Collection[str]) -> None:
    """Wake a worker for each of some queues in which jobs wait."""
    with get_engine().connect() as connection:
        found = {(row.kind, row.priority) for row in connection.execute(waiting(queues))}
    for queue in {_within(queues, queue_of(*one), KINDS[one[0]].queue) for one in found}:
        wake(queue)


def _within(queues: Collection[str], own: str, other: str) -> str:
    return own if own in queues else other


def _keys(job_id: int) -> dict[str, Any]:
    return {"a": LOCK, "b": job_id}
