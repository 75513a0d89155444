"""Whose turn it is, which jobs are needless, and what a job says when it ends: without a worker."""

from typing import Any

import psycopg
import pytest
import torch
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.services.jobs.queries import retry_job
from cli.follow import require_finished
from interp.errors import InputError
from jobs import queue
from jobs.events import get_redis
from jobs.kinds import INTERACTIVE, KINDS, QUEUES, WAITED_FOR
from jobs.log import LONGEST
from models import Job, JobEvent
from models.database import new_session
from tests.factories import little_study
from tests.studies import queue_job
from workers import turns
from workers.reasons import in_words, passes
from workers.runner import _end
from workers.task import forget, remember


def test_messages_are_stored_whatever_they_hold(db: Session) -> None:
    study = little_study(db)
    job = Job(study_id=study.id, kind="check", status="running", created_by="tests")
    db.add(job)
    db.commit()
    assert _end(job.id, "failed", "a\0b\ud83dc" + "d" * 5000)
    db.refresh(job)
    assert job.message.startswith("a\ufffdb\ufffdcd") and len(job.message) == LONGEST
    newest = db.scalars(select(JobEvent).filter_by(job_id=job.id)).one()
    assert newest.text.startswith("Failed: a\ufffdb\ufffdcd")
    assert not _end(job.id, "finished", ""), "what has ended stays as it is"


def test_errors_in_words() -> None:
    def of_postgres(kind: type[psycopg.Error]) -> OperationalError:
        return OperationalError("SELECT 1", {}, kind("raw words"))

    assert in_words(InputError("Choose another."), "r") == "Choose another."
    with pytest.raises(RuntimeError) as on_cpu:
        torch.empty(1 << 60)
    for error, word in (
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU"),
        (on_cpu.value, "worker ran out of memory"),
        (MemoryError(), "worker ran out of memory"),
        (OSError(28, "No space left on device"), "disk is full"),
        (of_postgres(psycopg.errors.DiskFull), "disk is full"),
        (of_postgres(psycopg.errors.QueryCanceled), "statement_timeout"),
        (ValueError("raw words"), "reference r"),
    ):
        words = in_words(error, "r")
        assert word in words and "raw" not in words
        assert not passes(error)
    for kind in (
        psycopg.OperationalError,
        psycopg.errors.AdminShutdown,
        psycopg.errors.CannotConnectNow,
        psycopg.errors.DeadlockDetected,
    ):
        assert passes(of_postgres(kind))


def test_urgent_jobs_come_first_and_the_others_take_turns(db: Session) -> None:
    study = little_study(db)
    db.execute(update(Job).where(Job.status.in_(("queued", "running"))).values(status="cancelled"))
    kinds = ("simulate", "rewrite", "sentence", "rewrite", "generate")
    jobs = [
        Job(
            study_id=study.id,
            kind=kind,
            status="running",
            priority=KINDS[kind].priority,
            created_by="tests",
        )
        for kind in kinds
    ]
    db.add_all(jobs)
    for job, seconds in zip(jobs, (None, 20, 5, 10, None), strict=True):
        if seconds is not None:
            job.turn_at = func.now() - text(f"interval '{seconds} s'")
    db.commit()
    simulate, earlier, sentence, later, generate = (job.id for job in jobs)
    order = [row.id for row in db.execute(turns.waiting(["gpu"]))]
    assert order == [generate, sentence, simulate, earlier, later]
    assert not db.execute(turns.waiting(["cpu"])).all()
    with new_session(reads=True) as session:
        holder = session.connection()
        assert turns.take(holder, ["gpu"]) == generate
        assert [row.id for row in db.execute(turns.waiting(["gpu"]))] == order[1:]
        turns.unlock(holder, generate)
    assert [row.id for row in db.execute(turns.waiting(["gpu"]))] == order
    db.execute(update(Job).where(Job.id.in_(order)).values(status="cancelled"))
    db.commit()


def test_the_interactive_worker_takes_what_people_wait_for(db: Session) -> None:
    study = little_study(db)
    db.execute(update(Job).where(Job.status.in_(("queued", "running"))).values(status="cancelled"))
    kinds = (("simulate", 1), ("rewrite", 0), ("explain", 1), ("rewrite", -1), ("explain", 0))
    jobs = [
        Job(study_id=study.id, kind=kind, status="queued", priority=priority, created_by="tests")
        for kind, priority in kinds
    ]
    db.add_all(jobs)
    db.commit()
    edit, rewrite, explain_one, background, explain = (job.id for job in jobs)

    def order(*queues: str) -> list[int]:
        return [row.id for row in db.execute(turns.waiting(queues))]

    everything = [edit, explain_one, rewrite, explain, background]
    try:
        assert order("gpu", "cpu") == everything, "there is no interactive worker"
        queue.beat([INTERACTIVE])
        assert order(INTERACTIVE) == [edit, explain_one]
        assert order("gpu", "cpu") == [rewrite, explain, background]
        assert order("gpu") == [rewrite, background]
        assert order(INTERACTIVE, "gpu", "cpu") == everything
        turns.SHARES.spent(1, 100)
        assert order(INTERACTIVE, "gpu", "cpu") == [
            rewrite,
            explain,
            background,
            edit,
            explain_one,
        ], "the others have their third"
    finally:
        turns.SHARES.spent(0, 100)
        get_redis().delete(f"palimpsest:served:{INTERACTIVE}")
        db.execute(update(Job).where(Job.study_id == study.id).values(status="cancelled"))
        db.commit()


def test_an_urgent_job_wakes_whoever_takes_it(db: Session) -> None:
    study = little_study(db)

    def messages() -> dict[str, int]:
        return {name: get_redis().llen(name) for name in QUEUES}

    get_redis().delete(*QUEUES)
    queue_job(db, study, "sentence", sentence_id=1)
    assert messages() == {"cpu": 0, "gpu": 1, INTERACTIVE: 0}
    get_redis().delete(*QUEUES)
    queue.beat([INTERACTIVE])
    try:
        queue_job(db, study, "sentence", sentence_id=1)
        queue_job(db, study, "check")
        assert messages() == {"cpu": 0, "gpu": 1, INTERACTIVE: 1}
        get_redis().delete(*QUEUES)
        turns.wake_waiting(["gpu", "cpu"])
        # Jobs of other tests may wait on the queue `cpu`.
        kinds = [name for name, kind in KINDS.items() if kind.queue == "cpu"]
        others = select(Job.id).where(
            Job.kind.in_(kinds), Job.status == "queued", Job.priority < WAITED_FOR
        )
        cpu = 0 if db.scalar(others.limit(1)) is None else 1
        assert messages() == {"cpu": cpu, "gpu": 1, INTERACTIVE: 0}
        get_redis().delete(*QUEUES)
        turns.wake_waiting([INTERACTIVE, "gpu"])
        assert messages() == {"cpu": 0, "gpu": 1, INTERACTIVE: 1}
    finally:
        get_redis().delete(f"palimpsest:served:{INTERACTIVE}", *QUEUES)
        db.execute(update(Job).where(Job.study_id == study.id).values(status="cancelled"))
        db.commit()


def test_what_a_worker_notes_leaves_what_others_note(db: Session) -> None:
    study = little_study(db)
    begun = queue_job(db, study, "rewrite", protocol="whole", rewrite_id=1)
    begun.status, begun.state = "running", {"rewrite_id": 1, "old": 2}
    db.commit()
    with new_session() as worker:
        at_work = worker.get_one(Job, begun.id)
        newer = queue_job(db, study, "rewrite", protocol="whole", rewrite_id=2)
        remember(worker, at_work, found=3)
        forget(worker, at_work, "old")
        worker.commit()
    db.refresh(begun)
    assert begun.state == {"rewrite_id": 1, "found": 3, "superseded_by": newer.id}
    newer.status = "cancelled"
    db.commit()


def test_the_rest_of_a_rewrite_supersedes_that_of_earlier_ones(db: Session) -> None:
    study = little_study(db)

    def rest(rewrite_id: int | None, **changes: Any) -> Job:
        values = {"protocol": "whole", "simulator_id": study.simulator_id, "rewrite_id": rewrite_id}
        return queue_job(db, study, "rewrite", **values | changes)

    main = rest(None, main_point=True)
    ordinary = rest(None)
    paper = rest(1, protocol="paper")
    begun = rest(1)
    begun.status, begun.turn_at = "running", func.now()
    db.commit()
    waits = rest(2)
    newest = rest(3)
    states = {}
    for job in (main, ordinary, paper, begun, waits, newest):
        db.refresh(job)
        states[job.id] = job.status
    assert [*states.values()] == ["queued"] * 3 + ["cancelled"] * 2 + ["queued"]
    assert f"job {newest.id}" in waits.message and waits.finished_at is not None
    assert begun.state == {"superseded_by": waits.id}
    assert waits.state == {"superseded_by": newest.id}
    require_finished([begun, waits])
    retry_job(db, waits)
    assert waits.state == {} and waits.params["rewrite_id"] == 2
    db.execute(update(Job).where(Job.study_id == study.id).values(status="cancelled"))
    db.commit()
