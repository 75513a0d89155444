"""Sanity checks in the database."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.jobs.queries import latest_job
from jobs.params import CheckParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Check, Job, Study


def list_checks(session: Session, study: Study) -> list[Check]:
    """Outcomes of the newest check job that has any, in the order in which they came."""
    newest = select(func.max(Check.job_id)).where(Check.study_id == study.id).scalar_subquery()
    query = select(Check).where(Check.study_id == study.id, Check.job_id == newest)
    return list(session.scalars(query.order_by(Check.id)))


def check(session: Session, study: Study, user: str) -> Job:
    """Queue the sanity checks of a study. Commits the session.

    Raises:
        Conflict: The study is not collected yet, or its checks are on their way already.
    """
    if study.simulator_id is None:
        raise Conflict(
            f"Study {study.slug} cannot be checked yet: its activations are still being collected."
        )
    latest = latest_job(session, study, "check")
    if latest is not None and latest.status in ACTIVE:
        raise Conflict(f"The checks of study {study.slug} are on their way already.")
    return enqueue(session, study, CheckParams(), by=user)
