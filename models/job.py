"""Jobs: long work that a worker does chunk by chunk."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    and_,
    null,
    or_,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Id, Json

ACTIVE = ("queued", "running")
"""States of a job that has not ended."""
WAITED_FOR = ("sentence", "generate")
"""Kinds of jobs that somebody waits for, whatever they are about."""


class Job(Base):
    """One piece of queued work and how far it is. The truth about a job is here, not in Redis."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'cancelled', 'failed', 'finished')", name="status"
        ),
        Index(None, "study_id", "created_at"),
        Index("ix_job_active", "id", postgresql_where=text("status IN ('queued', 'running')")),
    )

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    kind: Mapped[str]
    """``collect``, ``explain``, ``embed``, ``judge``, ``simulate``, ``rewrite``, ``generate``,
    ``sentence`` or ``check``."""
    params: Mapped[Json] = mapped_column(default=dict)
    status: Mapped[str] = mapped_column(default="queued")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    """Units of work; None until it is known."""
    unit: Mapped[str] = mapped_column(default="")
    """What ``done`` and ``total`` count: contexts, latents, conditions."""
    message: Mapped[str] = mapped_column(default="")
    """What it is doing now, or why it failed: one sentence for the user."""
    missing: Mapped[int] = mapped_column(default=0)
    """Simulated values that came out missing."""
    usage: Mapped[Json] = mapped_column(default=dict)
    """What it has cost so far: ``tokens_read``, ``tokens_written``, and ``seconds`` at work."""
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

    @hybrid_property
    def urgent(self) -> bool:
        """True if somebody waits for it, because it is about one sentence, prompt or
        explanation."""
        one = self.kind == "simulate" and len(self.params.get("explanation_ids", ())) == 1
        return self.kind in WAITED_FOR or one

    @urgent.inplace.expression
    @classmethod
    def _urgent(cls) -> ColumnElement[bool]:
        ids = cls.params["explanation_ids"]
        one = and_(cls.kind == "simulate", ids[0].is_not(null()), ids[1].is_(null()))
        return or_(cls.kind.in_(WAITED_FOR), one)


class JobEvent(Base):
    """A line of a job's log."""

    __tablename__ = "job_event"

    id: Mapped[Id]
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    at: Mapped[Created]
    text: Mapped[str]
