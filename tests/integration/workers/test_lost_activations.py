"""Lost activations on pages, in the doctor's report and in single tasks."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from cli.doctor import _models
from cli.servers import from_settings
from cli.stores import incomplete
from interp.corpus.activations import StoreError
from models import Explanation, Latent, Score, Simulation, Study
from models.settings import get_settings
from tests.reading import problem_of, text_of
from tests.text_study import text_study
from workers.tasks.check import _scores_are_of_these_activations
from workers.tasks.simulate import scores


def folder_of(study: Study, name: str) -> Path:
    return get_settings().activations(study.id, name)


@pytest.fixture
def scored(db: Session) -> Study:
    return text_study(db)


def simulation_of(db: Session, study: Study) -> Simulation:
    of_study = select(Simulation).join(Explanation).join(Latent, Latent.id == Explanation.latent_id)
    where = Latent.study_id == study.id, Simulation.set == "calibrate"
    return db.scalars(of_study.where(*where).order_by(Simulation.id)).first()  # type: ignore[return-value]


def test_nothing_is_scored_on_lost_activations(db: Session, scored: Study) -> None:
    simulation = simulation_of(db, scored)
    latent = db.get_one(Latent, db.get_one(Explanation, simulation.explanation_id).latent_id)
    db.execute(delete(Score).filter_by(explanation_id=simulation.explanation_id))
    shutil.rmtree(folder_of(scored, "calibrate"))
    with pytest.raises(StoreError, match=r"no folder .*calibrate.*palimpsest collect"):
        scores.Block.of(db, scored, [latent], [simulation])
    assert not db.scalar(
        select(func.count()).where(Score.explanation_id == simulation.explanation_id)
    )


def test_scores_of_lost_activations_are_told_from_true_ones(db: Session, scored: Study) -> None:
    assert _scores_are_of_these_activations(db, scored).outcome == "passed"
    # What an earlier version stored when it read the lost shards as silence.
    simulation = simulation_of(db, scored)
    score = db.scalars(
        select(Score).filter_by(explanation_id=simulation.explanation_id, name="correlation")
    ).one()
    score.details = {**score.details, "active": 0}
    db.flush()
    found = _scores_are_of_these_activations(db, scored)
    assert found.outcome == "failed" and "1 of 2 latents" in found.detail
    shutil.rmtree(folder_of(scored, "calibrate"))
    assert _scores_are_of_these_activations(db, scored).outcome == "cannot tell"


def test_pages_show_why_instead_of_figures(pages: httpx.Client, db: Session, scored: Study) -> None:
    (shard,) = folder_of(scored, "calibrate").iterdir()
    shard.write_bytes(shard.read_bytes()[:-5])
    here = f"/studies/{scored.slug}/latents/0"
    assert str(shard) in problem_of(pages.get(f"/api/v1{here}/agreement"), 404)
    explanation = simulation_of(db, scored).explanation_id
    for path in (f"{here}/agreement", f"{here}/errors?version={explanation}"):
        page = pages.get(path)
        assert page.status_code == 200, path
        assert f"{shard.name} is damaged or cut short" in text_of(page), path
    worst = pages.get(f"/api/v1/explanations/{explanation}/errors").json()
    assert shard.name in worst["problem"]
    assert not worst["false_positives"] and not worst["false_negatives"]


def test_the_doctor_names_the_study(db: Session, scored: Study) -> None:
    scored.contexts_evaluate = 0
    db.commit()
    assert not [line for line in incomplete(db) if line.startswith(f"{scored.slug}:")]
    shutil.rmtree(folder_of(scored, "explain"))
    (line,) = [line for line in incomplete(db) if line.startswith(f"{scored.slug}:")]
    assert "explain" in line and "palimpsest collect" in line


def test_a_study_that_is_being_removed_is_no_problem(db: Session, scored: Study) -> None:
    shutil.rmtree(folder_of(scored, "explain"))
    scored.model = "/nowhere/removed"
    db.commit()
    here = get_settings()
    assert "/nowhere/removed" in _models(here, from_settings(here)).text
    scored.deleted_at = datetime.now(UTC)
    db.commit()
    assert not [line for line in incomplete(db) if line.startswith(f"{scored.slug}:")]
    assert "/nowhere/removed" not in _models(here, from_settings(here)).text
