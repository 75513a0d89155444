"""Explanations read from files: uploaded, taken in by a job, and what is then stored."""

from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Job, Latent, Study
from workers.tasks import explain


def versions(db: Session, study: Study) -> list[tuple[Any, ...]]:
    """Every version of the study's explanations, the current ones marked, in their order."""
    query = select(
        Latent.index,
        Explanation.text,
        Explanation.author,
        Explanation.author_kind,
        Explanation.prompt_version,
        Explanation.id == Latent.explanation_id,
    ).join(Latent, Latent.id == Explanation.latent_id)
    query = query.where(Latent.study_id == study.id).order_by(Latent.index, Explanation.id)
    return [tuple(row) for row in db.execute(query)]


def finish(db: Session, job_id: int) -> Job:
    """Do an import's job here, as a worker would."""
    job = db.get_one(Job, job_id)
    list(explain.run(db, job, db.get_one(Study, job.study_id)))
    job.status = "finished"
    db.commit()
    db.expire_all()
    return job


# --- Import ---------------------------------------------------------------------------------------


def upload(web: str, study: Study, name: str, content: bytes) -> httpx.Response:
    url = f"{web}/api/v1/studies/{study.slug}/import"
    return httpx.post(url, files={"file": (name, content)}, timeout=30)
