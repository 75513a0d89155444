"""How long each kind of a job's units takes, from the job itself and from earlier ones."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from jobs.rates import earlier
from models import Job
from workers.task import Unit


def planned(session: Session, job: Job, units: Sequence[Unit]) -> dict[str, Any]:
    """By the names of a job's units: how many things are done and in all, and what this job has
    spent on how many of them. Before it has, what an earlier job alike took for each."""
    simulator_id = job.params.get("simulator_id") or job.state.get("simulator_id")
    before = earlier(session, job.study_id, job.kind, simulator_id, but=job.id)
    found: dict[str, Any] = {}
    for unit in units:
        old = job.rates.get(unit.name, {"timed": 0, "seconds": 0.0})
        new = {"done": 0, "total": 0, "timed": old["timed"], "seconds": old["seconds"]}
        rate = found.setdefault(unit.name, new | {"before": before.get(unit.name)})
        rate["done"] += unit.done
        rate["total"] += unit.size
    return found


def spent(rates: dict[str, Any], unit: Unit, things: int, seconds: float) -> dict[str, Any]:
    """The same after some seconds at work on some things of a unit."""
    rate = rates[unit.name]
    more = {
        "done": rate["done"] + things,
        "timed": rate["timed"] + things,
        "seconds": rate["seconds"] + seconds,
    }
    return {**rates, unit.name: rate | more}
