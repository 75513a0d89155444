"""How long each kind of a job's units took in earlier jobs."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Job

EARLIER = 20
"""Earlier jobs to look at."""
_SIMULATOR = func.coalesce(
    Job.params["simulator_id"].as_integer(), Job.state["simulator_id"].as_integer()
)


def earlier(
    session: Session, study_id: int, kind: str, simulator_id: int | None, *, but: int | None = None
) -> dict[str, float]:
    """By the names of units, the seconds that one thing took in the newest job that had such units.

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
            if rate["timed"]:
                found.setdefault(name, rate["seconds"] / rate["timed"])
    return found
