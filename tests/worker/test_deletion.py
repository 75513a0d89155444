"""Deletion while a worker runs."""

import uuid
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.services.deletion.studies import delete_study
from cli.processes import Child
from models import (
    Context,
    Example,
    Explanation,
    Job,
    Latent,
    Simulator,
    Study,
)
from models.settings import Settings
from tests.checkpoints import living_folders
from tests.factories import little_study
from tests.studies import make_study, queue_job, small_study, wait_until
from tests.text_study import activations_of, store_activations, text_study


@pytest.fixture
def settings(data_folder: Path) -> Settings:
    return Settings(PALIMPSEST_HOME=data_folder)


def test_a_worker_leaves_a_study_that_is_deleted_while_it_collects(
    db: Session, worker: Child, tmp_path: Path, settings: Settings
) -> None:
    lengths = {"context_length": 16, "contexts_explain": 9000, "first_latents": 0}
    files = living_folders(tmp_path)
    study = make_study(db, small_study("gone-collect", "", **(files | lengths)))
    _delete_under(db, worker, settings, study, "collect")


def test_a_worker_leaves_a_study_that_is_deleted_while_it_simulates(
    db: Session, worker: Child, model_cache: Path, settings: Settings
) -> None:
    study = text_study(db, simulated=0)
    simulator = Simulator(
        method="all_at_once",
        model=str(model_cache / "smollm2-135m-instruct"),
        prompt_version="all_at_once-1",
        options={"calibrate_contexts": 2, "test": uuid.uuid4().hex},
    )
    db.add(simulator)
    db.flush()
    study.simulator_id = simulator.id
    # As little as can be simulated: this is about what happens between two units.
    study.contexts_evaluate = study.contexts_rewrite = 2
    latents = select(Latent.id).where(Latent.study_id == study.id)
    some = (Example.kind != "top") | (Example.rank > 0)
    db.execute(delete(Example).where(Example.latent_id.in_(latents), some))
    few = select(Context).filter_by(study_id=study.id, set="calibrate").limit(2)
    chosen = db.scalars(few).all()
    for context in chosen:
        evaluated = {n: getattr(context, n) for n in ("document", "start", "tokens", "strings")}
        db.add(Context(study_id=study.id, set="evaluate", index=context.index, **evaluated))
    store_activations(study, "evaluate", activations_of(list(chosen)))
    explained = select(Explanation.id).join(Latent, Latent.id == Explanation.latent_id)
    ids = list(db.scalars(explained.where(Latent.study_id == study.id)))
    queue_job(db, study, "simulate", explanation_ids=ids, then_rewrite=False, individually=0)
    _delete_under(db, worker, settings, study, "simulate")


def _delete_under(db: Session, worker: Child, settings: Settings, study: Study, kind: str) -> None:
    """Delete a study at whose job the worker is, and see that neither is hurt."""
    number, folder = study.id, settings.study_files(study.id)
    at_it = select(Job).filter_by(study_id=number, kind=kind, status="running")
    wait_until(db, lambda: (job := db.scalar(at_it)) and job.done > 0, what=kind)
    assert folder.exists()
    delete_study(db, db.get_one(Study, number))
    _wait_for_removal(db, number)
    assert not folder.exists()
    # The worker is well, and takes up the next job.
    other = little_study(db)
    job = queue_job(db, other, "explain", method="x")
    wait_until(db, lambda: job.status == "failed", what="the next job")
    assert "There is no explainer" in job.message
    assert "could not be removed" not in worker.log.read_text()
    assert not folder.exists(), "nothing came after the removal"
    last = other.id
    delete_study(db, other)
    _wait_for_removal(db, last)


def _wait_for_removal(db: Session, number: int) -> None:
    there = select(Study.id).where(Study.id == number)
    wait_until(db, lambda: db.scalar(there) is None, what="the removal")
    for table in (Latent, Job, Context):
        assert not db.scalar(select(func.count()).where(table.study_id == number))
