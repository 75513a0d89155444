"""The newest job of a kind, as the page says that shows what it made."""

from typing import Any

from sqlalchemy.orm import Session

from app.services.jobs.queries import latest_job
from jobs.status import ACTIVE, STOPPED
from models import Study


def of_latest(session: Session, study: Study, kind: str) -> dict[str, Any]:
    """Two variables of a template: ``job``, unless it is finished or there is none, and ``active``,
    whether it waits or runs."""
    job = latest_job(session, study, kind)
    return {
        "job": job if job and job.status in ACTIVE + STOPPED else None,
        "active": job is not None and job.status in ACTIVE,
    }
