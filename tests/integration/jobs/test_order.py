"""The place of a job among those that wait."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from jobs import queue
from jobs.kinds import INTERACTIVE
from jobs.order import jobs_before
from models import Job
from tests.conftest import silence
from tests.factories import little_study
from tests.reading import text_of
from workers import turns


@pytest.fixture
def jobs(db: Session) -> Iterator[list[Job]]:
    """The only jobs that wait or run: one runs, the others are queued."""
    silence()
    db.execute(update(Job).where(Job.status.in_(("queued", "running"))).values(status="cancelled"))
    study = little_study(db)
    kinds = [
        *[("simulate", 0), ("simulate", 0), ("explain", 0), ("rewrite", -1)],
        *[("simulate", 1), ("rewrite", 0)],
    ]
    made = [
        Job(study_id=study.id, kind=kind, priority=priority, status="queued", created_by="tests")
        for kind, priority in kinds
    ]
    made[0].status, made[0].turn_at = "running", datetime.now(UTC)
    db.add_all(made)
    db.commit()
    yield made
    for job in made:
        job.status = "cancelled"
    db.commit()
    silence()


def test_jobs_before_a_job_are_those_that_a_worker_takes_first(
    db: Session, jobs: list[Job]
) -> None:
    running, simulate, explain, background, edit, rewrite = (job.id for job in jobs)
    assert jobs_before(db) == {}, "nobody serves them"
    queue.beat(["gpu", "cpu"])
    order = [row.id for row in db.execute(turns.waiting(["gpu", "cpu"]))]
    assert order == [edit, simulate, explain, rewrite, running, background]
    assert jobs_before(db) == {job: order.index(job) for job in order if job != running}
    # Workers of their own.
    for one in ("gpu", "cpu", INTERACTIVE):
        queue.beat([one])
    assert jobs_before(db) == {edit: 0, simulate: 0, explain: 0, rewrite: 1, background: 3}


def test_pages_and_the_api_show_the_place_of_a_job(
    pages: httpx.Client, api: httpx.Client, db: Session, jobs: list[Job]
) -> None:
    running, simulate, explain, background, *_ = (job.id for job in jobs)
    queue.beat(["gpu", "cpu"])
    for job, words in (
        (background, "queued 5 jobs go before it"),
        (simulate, "queued 1 job goes before it"),
    ):
        assert words in text_of(pages.get(f"/jobs/{job}"))
    listed = text_of(pages.get("/jobs"))
    assert "5 jobs go before it" in listed and "next in the queue" in listed
    assert "before it" not in text_of(pages.get(f"/jobs/{running}"))
    for job, before in ((background, 5), (explain, 2), (running, None)):
        assert api.get(f"jobs/{job}").json()["jobs_before"] == before
