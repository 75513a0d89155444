"""How long each kind of a job's units takes, by this job and by earlier ones."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from jobs.params import SimulateParams
from jobs.rates import earlier
from models import Job, Study
from tests.factories import little_study
from workers.rates import planned, spent
from workers.task import Unit


def _job(db: Session, study: Study, simulator_id: int, rates: dict[str, Any]) -> Job:
    params = SimulateParams(explanation_ids=(1, 2), simulator_id=simulator_id).stored()
    job = Job(study_id=study.id, kind="simulate", params=params, created_by="tests", rates=rates)
    db.add(job)
    db.commit()
    return job


def test_rates_are_those_of_the_newest_job_alike(db: Session) -> None:
    study = little_study(db)
    timed = {"done": 4, "total": 4, "timed": 4, "seconds": 8.0, "before": None}
    _job(db, study, 1, {"scores": timed, "examples": timed | {"seconds": 2.0}})
    _job(db, study, 1, {"scores": timed | {"seconds": 12.0}})
    _job(db, study, 2, {"scores": timed | {"seconds": 99.0}})
    _job(db, study, 1, {"scores": timed | {"timed": 0, "seconds": 0.0}})
    assert earlier(db, study.id, "simulate", 1) == {"scores": 3.0, "examples": 0.5}
    assert earlier(db, study.id, "rewrite", 1) == {}

    job = _job(db, study, 1, {})
    units = [Unit("scores", 0, 4, done=1), Unit("scores", 4, 6), Unit("loss_effects", 0, 1)]
    job.rates = planned(db, job, units)
    scores = {"done": 1, "total": 6, "timed": 0, "seconds": 0.0, "before": 3.0}
    assert job.rates == {
        "scores": scores,
        "loss_effects": scores | {"done": 0, "total": 1, "before": None},
    }
    job.rates = spent(job.rates, units[0], 2, 5.0)
    assert job.rates["scores"] == scores | {"done": 3, "timed": 2, "seconds": 5.0}
    # In a later turn the plan counts what is done, and what was timed stays.
    later = planned(db, job, [Unit("scores", 0, 6, done=4)])
    assert later == {"scores": scores | {"done": 4, "timed": 2, "seconds": 5.0}}
    assert earlier(db, study.id, "simulate", 1)["scores"] == pytest.approx(2.5)
