"""The log of a job, and its messages."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from interp.cleaning import storable
from models import JobEvent

LOG_LINES = 300
"""Lines that are kept of a job's log, the newest ones."""
LONGEST = 2000
"""Characters that are kept of a message or a line of a log."""


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
