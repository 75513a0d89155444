"""The order in which workers take up the jobs that wait."""

from collections import Counter
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from jobs.kinds import INTERACTIVE, KINDS, queue_of
from jobs.queue import served_with
from jobs.status import ACTIVE, Status
from models import Job, Study


def in_order(rank: Any = Job.priority) -> tuple[ColumnElement[Any], ...]:
    """What jobs are sorted by: the first one is taken up first.

    Args:
        rank: What goes before all else, the larger the sooner.
    """
    return rank.desc(), Job.turn_at.asc().nulls_first(), Job.id.asc()


def jobs_before(session: Session) -> dict[int, int]:
    """By each queued job, how many other jobs the workers of its queue take up before it.

    Jobs that no worker serves are left out. It is empty while Redis cannot be asked.
    """
    try:
        served = served_with()
    except (RedisError, RuntimeError):
        return {}
    there = select(Study.id).where(Study.id == Job.study_id, Study.deleted_at.is_(None)).exists()
    active = select(Job.id, Job.kind, Job.priority, Job.status).where(Job.status.in_(ACTIVE), there)
    seen: Counter[str] = Counter()
    before = {}
    for job in session.execute(active.order_by(*in_order())):
        queue = queue_of(job.kind, job.priority)
        if queue == INTERACTIVE and INTERACTIVE not in served:
            queue = KINDS[job.kind].queue
        if job.status == Status.QUEUED and queue in served:
            before[job.id] = sum(seen[one] for one in served[queue])
        seen[queue] += 1
    return before
