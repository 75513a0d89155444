"""How long each kind of a job's units takes, in this job and in earlier ones."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Job

EARLIER = 20
"""Earlier jobs to look at."""
ENOUGH_UNITS = 2
"""A rate is told from so many timed units on. Fewer are enough if ``ENOUGH_SHARE`` is done."""
ENOUGH_SHARE = 0.01
_SIMULATOR = func.coalesce(
    Job.params["simulator_id"].as_integer(), Job.state["simulator_id"].as_integer()
)


def each(rate: Mapping[str, Any]) -> float | None:
    """The seconds that a thing of a job's units takes. None while that rests on too little.

    Args:
        rate: What ``Job.rates`` says of the units of one name. An older version counted no units.
    """
    units, things = rate.get("units", 0), rate["timed"]
    enough = units >= ENOUGH_UNITS or (units and rate["done"] >= ENOUGH_SHARE * rate["total"])
    if not enough or not things:
        return None
    seconds: float = rate["seconds"] / things
    return seconds


def earlier(
    session: Session, study_id: int, kind: str, simulator_id: int | None, *, but: int | None = None
) -> dict[str, float]:
    """By the names of units, the seconds that one thing took in the newest job that tells.

    Args:
        simulator_id: The simulator that the jobs name; None for jobs that name none.
        but: A job to leave out.
    """
    jobs = session.scalars(
        select(Job.rates)
        .where(
            Job.study_id == study_id,
            Job.kind == kind,
            Job.id.is_distinct_from(but),
            _SIMULATOR.is_not_distinct_from(simulator_id),
            Job.rates != {},
        )
        .order_by(Job.id.desc())
        .limit(EARLIER)
    )
    found: dict[str, float] = {}
    for rates in jobs:
        for name, rate in rates.items():
            if (seconds := each(rate)) is not None:
                found.setdefault(name, seconds)
    return found
