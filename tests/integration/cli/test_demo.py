"""The demo studies that the first start makes, and the order of their jobs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from cli import demo
from jobs import chain, queue
from jobs.kinds import BACKGROUND, params_of, priority_of
from jobs.params import RewriteParams
from models import Job, Simulator, Study
from tests.conftest import silence
from workers import turns

STATE = {
    "explanation_ids": [1] * 20,
    "simulator_id": 1,
    "left": True,
    "lacks_vectors": True,
    "rewrite_id": 1,
    "measure": [1, 2],
}
"""The notes of a worker that has found all that a job can leave for others."""


@pytest.fixture
def studies(db: Session, data_folder: Path) -> Iterator[dict[str, Study]]:
    """The demo studies by slug. No other job waits."""
    silence()
    db.execute(update(Job).where(Job.status.in_(("queued", "running"))).values(status="cancelled"))
    before = set(db.scalars(select(Simulator.id)))
    base = data_folder / "models" / demo.BASE
    base.symlink_to(demo.MODEL)  # it is looked at, not loaded
    try:
        demo.create_demo(db, "ada")
        query = select(Study).where(Study.slug.in_(("demo", "demo-residual")))
        yield {study.slug: study for study in db.scalars(query)}
    finally:
        base.unlink()
        db.rollback()
        db.execute(delete(Study).where(Study.slug.in_(("demo", "demo-residual"))))
        db.execute(delete(Simulator).where(Simulator.id.not_in(before)))
        db.commit()
        silence()


def test_the_studies_differ_in_coder_and_site_alone(studies: dict[str, Study]) -> None:
    first, second = studies["demo"], studies["demo-residual"]
    own = {"id", "slug", "title", "coder", "hookpoint", "created_at"}
    for column in set(Study.__table__.columns.keys()) - own:
        assert getattr(first, column) == getattr(second, column), column
    assert (first.hookpoint, second.hookpoint) == ("layers.10.mlp", "layers.10")
    assert (Path(first.coder).name, Path(second.coder).name) == ("coder", "coder_residual")


def test_the_second_study_never_delays_the_chart_of_the_first(
    db: Session, studies: dict[str, Study]
) -> None:
    """Jobs are done in the order of the queue, and each is followed by what follows it."""
    slugs = {study.id: slug for slug, study in studies.items()}
    done: list[Job] = []
    while row := db.execute(turns.waiting(["gpu", "cpu"])).first():
        job = db.get_one(Job, row.id)
        job.turn_at = datetime.now(UTC)
        queue.follow(db, job, "finished", chain.after(params_of(job), STATE))
        job.status = "finished"
        db.commit()
        done.append(job)
    charts = [
        slugs[job.study_id]
        for job in done
        if isinstance(params := params_of(job), RewriteParams) and params.main_point
    ]
    assert charts == ["demo", "demo-residual"]
    kinds = {slug: [job.kind for job in done if slugs[job.study_id] == slug] for slug in charts}
    assert {slugs[job.study_id] for job in done[: kinds["demo"].index("rewrite") + 1]} == {"demo"}
    for job in done:
        if slugs[job.study_id] == "demo":
            assert job.priority == priority_of(params_of(job))
        else:
            assert job.priority == BACKGROUND
    assert set(kinds["demo-residual"]) == set(kinds["demo"])
