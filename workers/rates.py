"""How long each kind of a job's units takes, from the job itself and from earlier ones.

The first unit of a kind tells no rate: it also loads models, or reads all text.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from jobs.rates import earlier
from models import Job
from workers.task import Unit

_begun: deque[tuple[int, str]] = deque(maxlen=1000)
"""The jobs and names of units of which this process has done the first one."""
_UNTIMED = {"units": 0, "timed": 0, "seconds": 0.0}


def planned(session: Session, job: Job, units: Sequence[Unit]) -> dict[str, Any]:
    """By the names of a job's units: how many things are done and in all, how many units and things
    are timed, and what they took. Before, what an earlier job alike took for each thing."""
    simulator_id = job.params.get("simulator_id") or job.state.get("simulator_id")
    before = earlier(session, job.study_id, job.kind, simulator_id, but=job.id)
    found: dict[str, Any] = {}
    for unit in units:
        old = job.rates.get(unit.name, {})
        # An older version timed the first unit too, and counted none.
        timed = {name: old[name] for name in _UNTIMED} if "units" in old else _UNTIMED
        new = {"done": 0, "total": 0, **timed}
        rate = found.setdefault(unit.name, new | {"before": before.get(unit.name)})
        rate["done"] += unit.done
        rate["total"] += unit.size
    return found


def spent(job: Job, unit: Unit, things: int, seconds: float) -> dict[str, Any]:
    """The same after some seconds at work on some things of a unit."""
    rate = job.rates[unit.name]
    rate = {**rate, "done": rate["done"] + things}
    if (job.id, unit.name) in _begun:
        rate["units"] += 1
        rate["timed"] += things
        rate["seconds"] += seconds
    else:
        _begun.append((job.id, unit.name))
    return {**job.rates, unit.name: rate}
