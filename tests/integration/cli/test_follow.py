"""Jobs on the terminal."""

from io import StringIO

import pytest
from rich.console import Console
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.follow import MOST, follow
from models import Job
from tests.factories import little_study
from tests.studies import queue_job


def test_the_oldest_that_ended_make_room(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.follow.POLL_SECONDS", 0.0)
    study = little_study(db)
    jobs = [queue_job(db, study, "check") for _ in range(MOST + 5)]
    ids = [job.id for job in jobs]

    def one_more_ends() -> None:
        jobs.pop(0).status = "finished"
        db.commit()

    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    query = select(Job).where(Job.id.in_(ids)).order_by(Job.id)
    assert [job.id for job in follow(console, query, one_more_ends)] == ids
    last = screen.getvalue().rsplit("\x1b[2K", 1)[-1]
    assert [f"(job {number})" in last for number in ids] == [False] * 5 + [True] * MOST


def test_without_a_terminal_each_job_is_a_line(db: Session) -> None:
    study = little_study(db)
    job = queue_job(db, study, "check")
    job.status, job.message = "failed", "No [model] is there."
    db.commit()
    screen = StringIO()
    follow(Console(file=screen, width=100), select(Job).where(Job.id == job.id))
    assert screen.getvalue() == f"check (job {job.id}) failed No [model] is there.\n"
