"""Do a job's work in this process, as a worker would."""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.kinds import kind_of
from jobs.params import Params
from models import Job, Study
from workers.registry import task_of
from workers.task import Done, Unit


def add_job(db: Session, study: Study, params: Params) -> Job:
    kind = kind_of(params).name
    job = Job(study_id=study.id, kind=kind, params=params.stored(), state={}, created_by="tests")
    db.add(job)
    db.commit()
    return job


def following(db: Session, job: Job) -> list[Job]:
    """The jobs of the study that came after a job."""
    own = select(Job).where(Job.study_id == job.study_id, Job.id > job.id)
    return list(db.scalars(own.order_by(Job.id)))


class Step(NamedTuple):
    """How far a job was after a unit, or a part of one."""

    done: int
    total: int
    unit: str
    message: str
    missing: int


def plan(db: Session, job: Job, study: Study) -> list[Unit]:
    """The units of a job, as a worker finds them that takes it up now."""
    task = task_of(job)
    task.prepare(db, job, study)
    return list(task.plan(db, job, study))


def work(db: Session, job: Job, study: Study, *, most: int | None = None) -> list[Step]:
    """Do what is left of a job, or at most so many units or parts; then it is not finished."""
    task = task_of(job)
    task.prepare(db, job, study)
    units = task.plan(db, job, study)
    done, total = sum(unit.done for unit in units), sum(unit.size for unit in units)
    steps: list[Step] = []
    for unit in units:
        while unit.done < unit.size:
            if len(steps) == most:
                return steps
            did = task.do(db, job, study, unit)
            upto = unit.size if did.part is None else did.part
            done, unit = done + upto - unit.done, unit._replace(done=upto)
            steps.append(_step(done, total, task.counts, did))
    if most is None or len(steps) < most:
        task.finish(db, job, study)
    return steps


def _step(done: int, total: int, unit: str, did: Done) -> Step:
    return Step(done, total, unit, did.message, did.missing)
