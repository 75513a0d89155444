"""The recent activity in a study: who changed what, and the effect on the loss."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.activity.schemas import Activity
from app.services.rewrites.queries import statistics_of
from app.services.schemas import Comparison
from jobs.kinds import ORDINARY
from jobs.status import ACTIVE, Status
from models import Explanation, Job, Latent, LossEffect, Rewrite, RewritePoint, Study
from models.base import among
from models.rewrite import has_main_point


def recent_activity(session: Session, study: Study, *, limit: int) -> list[Activity]:
    """Explanations that people saved, and jobs that ended, newest first."""
    found = [*_edits(session, study, limit), *_jobs(session, study, limit)]
    return sorted(found, key=lambda one: one.at, reverse=True)[:limit]


def _edits(session: Session, study: Study, limit: int) -> list[Activity]:
    rows = session.execute(
        select(Explanation, Latent.index.label("latent"))
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Latent.study_id == study.id, Explanation.author_kind == "person")
        .order_by(Explanation.id.desc())
        .limit(limit)
    ).all()
    ids = [row.Explanation.id for row in rows]
    layers, own = _layers(session, study, ids), _own(session, study, ids)
    return [
        Activity(
            at=row.Explanation.created_at,
            who=_writer(row.Explanation),
            kind="edit",
            latent=row.latent,
            explanation_id=row.Explanation.id,
            text=row.Explanation.text,
            rewrite_id=layers[row.Explanation.id][0] if row.Explanation.id in layers else None,
            layer=layers[row.Explanation.id][1] if row.Explanation.id in layers else None,
            own=own.get(row.Explanation.id),
        )
        for row in rows
    ]


def _layers(
    session: Session, study: Study, ids: list[int]
) -> dict[int, tuple[int, Comparison | None]]:
    """Of each explanation the first whole-context rewrite that has it and whose parent has not, and
    how its largest set compares with the parent's."""
    edited = func.unnest(Rewrite.edited_ids).column_valued("edited", joins_implicitly=True)
    rows = session.execute(
        select(edited, Rewrite.id)
        .where(
            Rewrite.edited_ids.overlap(ids),
            edited.in_(ids),
            Rewrite.study_id == study.id,
            Rewrite.simulator_id == study.simulator_id,
            Rewrite.protocol == "whole",
            has_main_point(),
        )
        .order_by(Rewrite.id.desc())
    )
    rewrites = {explanation: rewrite for explanation, rewrite in rows}
    points = session.scalars(
        select(RewritePoint)
        .where(
            among(RewritePoint.rewrite_id, rewrites.values()),
            RewritePoint.condition == "rewritten",
            RewritePoint.calibration == "isotonic",
            RewritePoint.ordering == "score",
            RewritePoint.breadth == "panel",
        )
        .order_by(RewritePoint.rewrite_id, RewritePoint.count)
    )
    largest = {point.rewrite_id: point for point in points}
    return {
        explanation: (
            rewrite,
            statistics_of(largest[rewrite]).against.before if rewrite in largest else None,
        )
        for explanation, rewrite in rewrites.items()
    }


def _own(session: Session, study: Study, ids: list[int]) -> dict[int, Comparison]:
    """Each explanation's own loss effect compared with that of the explanation it was written
    from."""
    rows = session.execute(
        select(LossEffect.explanation_id, LossEffect.before).where(
            among(LossEffect.explanation_id, ids),
            LossEffect.simulator_id == study.simulator_id,
            LossEffect.condition == "rewritten",
            LossEffect.calibration == "isotonic",
        )
    )
    return {i: Comparison.model_validate(before) for i, before in rows if before is not None}


def _writer(explanation: Explanation) -> str:
    by = explanation.imported_by
    return f"{explanation.author} (imported by {by})" if by else explanation.author


def _jobs(session: Session, study: Study, limit: int) -> list[Activity]:
    """Jobs that ended, but for the finished and superseded ones of an edit: they say nothing beside
    it. The simulation of a study's first latents is none, at whatever priority."""
    of_edits = (
        Job.kind.in_(("simulate", "rewrite"))
        & (Job.priority != ORDINARY)
        & ~Job.params.has_key("first_latents")
    )
    ended = (
        select(Job)
        .where(
            Job.study_id == study.id,
            Job.status.not_in(ACTIVE),
            Job.finished_at.is_not(None),
            ~(of_edits & (Job.status == Status.FINISHED)),
            ~Job.state.has_key("superseded_by"),
        )
        .order_by(Job.id.desc())
        .limit(limit)
    )
    return [
        Activity(
            at=_moment(job),
            who=job.created_by,
            kind="job",
            job_id=job.id,
            job_kind=job.kind,
            status=job.status,
            text=job.message,
        )
        for job in session.scalars(ended)
    ]


def _moment(job: Job) -> datetime:
    return job.finished_at or job.created_at
