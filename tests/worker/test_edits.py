"""Edits in a row on a real worker: a main point for each, one rest for all."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.activity.queries import recent_activity
from app.services.explanations.queries import save_explanation
from cli.processes import Child
from models import Explanation, Job, Latent, Rewrite, Simulator, Study
from tests.checkpoints import living_folders
from tests.llm_server import running, simulating
from tests.studies import queue_job, small_study, wait_for_jobs, wait_until


@pytest.fixture
def study(db: Session, worker: Child, tmp_path: Path) -> Iterator[Study]:
    """A study of a tiny model, with ten latents rewritten."""
    lengths = {"context_length": 16, "contexts_explain": 600, "contexts_evaluate": 12}
    data = small_study("edits", "", **(living_folders(tmp_path) | lengths))
    with running() as server:
        server.behave = simulating
        options = {"backend": "openai", "base_url": server.url}
        simulator = Simulator(method="json_reply", model="m", prompt_version="1", options=options)
        study = Study(**data.model_dump(exclude={"first_latents", "until"}))
        db.add_all([study, simulator])
        db.flush()
        study.simulator_id = simulator.id
        db.commit()
        queue_job(db, study, "collect", first_latents=10, individually=0)
        jobs = wait_for_jobs(db, study.id)
        assert all(job.status == "finished" for job in jobs if "superseded_by" not in job.state)
        yield study


def test_five_edits_in_a_row_and_a_worker_that_is_killed(
    db: Session, study: Study, worker: Child
) -> None:
    before = db.scalars(
        select(Rewrite).filter_by(study_id=study.id, protocol="whole").order_by(Rewrite.id.desc())
    ).first()
    assert before is not None and before.finished
    last = db.scalar(select(func.max(Job.id)))
    edited = []
    for number, old in enumerate(before.explanation_ids[:5]):
        latent = db.get_one(Latent, db.get_one(Explanation, old).latent_id)
        edited.append(
            save_explanation(db, study, latent, f"Edit {number}.", None, "ana").explanation.id
        )
    whole = select(Rewrite).filter_by(study_id=study.id, protocol="whole").order_by(Rewrite.id)
    newer = whole.where(Rewrite.id > before.id)
    wait_until(db, lambda: db.scalars(newer).first(), what="the first main point")
    (pool,) = psutil.Process(worker.process.pid).children()
    pool.send_signal(signal.SIGKILL)
    jobs = [job for job in wait_for_jobs(db, study.id) if job.id > (last or 0)]
    assert all(job.status in ("finished", "cancelled") for job in jobs), [j.message for j in jobs]
    rests = [job for job in jobs if job.params.get("rewrite_id")]
    kept = [job for job in rests if job.status == "finished"]
    assert sorted(job.params["protocol"] for job in kept) == ["paper", "whole"]
    assert all("superseded_by" in job.state for job in rests if job not in kept)

    rows = list(db.scalars(newer))
    assert sorted(row.edited_ids for row in rows) == [[number] for number in edited]
    assert [row.finished for row in rows] == [False] * 4 + [True]
    assert [row.parent_id for row in rows] == [before.id, *(row.id for row in rows[:-1])]
    shown = [one for one in recent_activity(db, study, limit=20) if one.kind == "edit"]
    assert {one.rewrite_id for one in shown} == {row.id for row in rows}
    assert all(one.layer is not None and one.layer.mean is not None for one in shown)
