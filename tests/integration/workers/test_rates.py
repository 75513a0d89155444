"""How long each kind of a job's units takes, by this job and by earlier ones."""

from typing import Any

from sqlalchemy.orm import Session

from jobs.params import SimulateParams
from jobs.progress import seconds_left
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
    timed = {"done": 4, "total": 4, "units": 2, "timed": 4, "seconds": 8.0, "before": None}
    _job(db, study, 1, {"scores": timed, "examples": timed | {"seconds": 2.0}})
    _job(db, study, 1, {"scores": timed | {"seconds": 12.0}})
    _job(db, study, 2, {"scores": timed | {"seconds": 99.0}})
    # These rest on too little: nothing is timed, one unit of many, or an older version's first one.
    _job(db, study, 1, {"scores": timed | {"units": 0, "timed": 0, "seconds": 0.0}})
    _job(db, study, 1, {"scores": timed | {"units": 1, "total": 500, "seconds": 99.0}})
    _job(db, study, 1, {"scores": {"done": 1, "total": 500, "timed": 1, "seconds": 99.0}})
    assert earlier(db, study.id, "simulate", 1) == {"scores": 3.0, "examples": 0.5}
    assert earlier(db, study.id, "rewrite", 1) == {}

    job = _job(db, study, 1, {})
    units = [Unit("scores", 0, 4, done=1), Unit("scores", 4, 600), Unit("loss_effects", 0, 1)]
    job.rates = planned(db, job, units)
    untimed = {"units": 0, "timed": 0, "seconds": 0.0}
    assert job.rates == {
        "scores": {"done": 1, "total": 600, **untimed, "before": 3.0},
        "loss_effects": {"done": 0, "total": 1, **untimed, "before": None},
    }


def test_the_first_unit_of_a_kind_tells_no_rate(db: Session) -> None:
    study = little_study(db)
    job = _job(db, study, 1, {})
    job.status, job.total = "running", 1000
    units = [Unit("scores", i, i + 1) for i in range(1000)]

    def after(number: int, seconds: float) -> float | None:
        """The time left when one more unit is done."""
        job.rates = spent(job, units[number], 1, seconds)
        job.done += 1
        return seconds_left(job)

    job.rates = planned(db, job, units)
    assert seconds_left(job) is None
    assert after(0, 600.0) is None, "it loaded the models"
    assert after(1, 0.5) is None, "one unit of a thousand is too little"
    assert after(2, 1.5) == 997.0
    assert earlier(db, study.id, "simulate", 1)["scores"] == 1.0

    # In a later turn the plan counts what is done, and what was timed stays.
    job.rates = planned(db, job, [Unit("scores", 0, 1000, done=4)])
    assert job.rates["scores"] == {
        **{"done": 4, "total": 1000, "units": 2, "timed": 2, "seconds": 2.0},
        "before": None,
    }
    # An older version counted the first unit in.
    del job.rates["scores"]["units"]
    assert planned(db, job, units)["scores"]["seconds"] == 0.0
