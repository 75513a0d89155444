"""Jobs: long work that a worker does chunk by chunk."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Id, Json

_ACTIVE = text("status IN ('queued', 'running')")


class Job(Base):
    """One piece of queued work and how far it is. The truth about a job is here, not in Redis."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'cancelled', 'failed', 'finished')", name="status"
        ),
        Index(None, "study_id", "created_at"),
        Index("ix_job_active", "id", postgresql_where=_ACTIVE),
        Index(
            "ix_job_turn",
            text("priority DESC"),
            text("turn_at NULLS FIRST"),
            "id",
            postgresql_where=_ACTIVE,
        ),
    )

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    kind: Mapped[str]
    """One of ``jobs.kinds.KINDS``."""
    params: Mapped[Json] = mapped_column(default=dict)
    """What was asked for, see :mod:`jobs.params`. It never changes, but by a correction."""
    state: Mapped[Json] = mapped_column(default=dict, server_default=text("'{}'"))
    """What its worker notes for itself and for what follows.

    ``explanation_ids``, ``simulator_id``, ``rewrite_id``, ``attribution_id``: what it resolved
    once, when it began; ``test_id``: the language test that it made, and
    ``file_sha256`` the file that it reads; ``measure``: what is to be
    measured individually afterwards; ``cleared``,
    ``writing``, ``explained``, ``explained_latents``: how far it is, where no other table says so;
    ``survey``, ``says``, ``read``, ``taken``, ``failures``: the results of another tool that it
    reads, what they say of themselves, how many it has read, how many became explanations, and why
    the others did not; ``queued``: at which points it has queued what follows; ``anew``: forget
    what was collected first; ``superseded_by``: the job that made it needless."""
    status: Mapped[str] = mapped_column(default="queued")
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Jobs of a higher one go first, see :mod:`jobs.kinds`."""
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    """Units of work; None until it is known."""
    unit: Mapped[str] = mapped_column(default="")
    """What ``done`` and ``total`` count: latents, points, tokens."""
    message: Mapped[str] = mapped_column(default="")
    """What it is doing now, or why it failed: one sentence for the user."""
    missing: Mapped[int] = mapped_column(default=0)
    """Simulated values that came out missing."""
    usage: Mapped[Json] = mapped_column(default=dict)
    """The usage so far: ``tokens_read``, ``tokens_written``, and ``seconds`` at work."""
    rates: Mapped[Json] = mapped_column(default=dict, server_default=text("'{}'"))
    """By the names of its units: ``done`` and ``total`` things; the ``units`` that were timed, with
    the ``timed`` things in them and their ``seconds``; and ``before``, the seconds that one thing
    took in an earlier job alike."""
    attempts: Mapped[int] = mapped_column(default=0)
    """How many times a worker took it up: more than one after a retry or a killed worker."""
    setbacks: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Turns in a row that were cut short before any progress: the worker died, or the database
    went away."""
    turn_at: Mapped[datetime | None]
    """When its last turn began. Of jobs alike, the one whose turn is longest ago goes first."""
    held_by: Mapped[str | None]
    """The worker process that is at it. A name that nobody cleared is of a worker that died."""
    created_by: Mapped[str]
    created_at: Mapped[Created]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """A line of a job's log."""

    __tablename__ = "job_event"

    id: Mapped[Id]
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    at: Mapped[Created]
    text: Mapped[str]
