"""The queue of jobs, while no worker runs."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import (
    Job,
)
from tests.factories import little_study


def test_what_somebody_waits_for_is_urgent(db: Session) -> None:
    """In Python as in the database."""
    study = little_study(db)
    about = [{"explanation_ids": [1]}, {"explanation_ids": [1, 2]}, {"explanation_ids": []}, {}]
    kinds = ("simulate", "rewrite", "sentence", "generate")
    jobs = [
        Job(study_id=study.id, kind=kind, params=params, status="finished", created_by="tests")
        for kind in kinds
        for params in about
    ]
    db.add_all(jobs)
    db.commit()
    urgent = [(job.kind, len(job.params.get("explanation_ids", ()))) for job in jobs if job.urgent]
    assert set(urgent) == {("simulate", 1), *((k, n) for k in kinds[2:] for n in (0, 1, 2))}
    found = select(Job.id).where(Job.study_id == study.id, Job.kind.in_(kinds), Job.urgent)
    assert {*db.scalars(found)} >= {job.id for job in jobs if job.urgent}
    assert not {*db.scalars(found)} & {job.id for job in jobs if not job.urgent}
