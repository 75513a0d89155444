"""Delete a simulator, and count the rows that go with it."""

from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.services.deletion.studies import request_removal
from app.services.errors import Conflict
from app.services.simulators.schemas import SimulatorHanging
from jobs.status import ACTIVE
from models import (
    Generation,
    Job,
    LanguageTest,
    LossEffect,
    Rewrite,
    Score,
    Sentence,
    Simulation,
    Simulator,
    Study,
)


def hanging(session: Session, simulator: Simulator) -> SimulatorHanging:
    """Count the rows of a simulator, and list the studies and jobs that use it."""

    def count(table: Any) -> int:
        query = select(func.count()).select_from(table)
        return session.scalar(query.where(table.simulator_id == simulator.id)) or 0

    used = select(Study.slug).where(Study.simulator_id == simulator.id, Study.deleted_at.is_(None))
    return SimulatorHanging(
        studies=sorted(session.scalars(used)),
        jobs=_active(session, simulator),
        simulations=count(Simulation),
        scores=count(Score),
        loss_effects=count(LossEffect),
        rewrites=count(Rewrite),
        generations=count(Generation),
        language_tests=count(LanguageTest),
    )


def _active(session: Session, simulator: Simulator) -> list[int]:
    """Jobs that wait or run and simulate with it."""
    number = simulator.id
    rewrites = select(Rewrite.id).where(Rewrite.simulator_id == number)
    named = (
        Job.params.contains({"simulator_id": number}),
        Job.state.contains({"simulator_id": number}),
        Job.params.contains({"then_simulate": {"simulator_id": number}}),
        Job.state["rewrite_id"].as_integer().in_(rewrites),
        Job.id.in_(select(Generation.job_id).where(Generation.simulator_id == number)),
        Job.id.in_(select(Sentence.job_id).where(Sentence.simulator_id == number)),
    )
    query = select(Job.id).where(Job.status.in_(ACTIVE), or_(*named))
    return list(session.scalars(query.order_by(Job.id)))


def obstacle(found: SimulatorHanging) -> str:
    """Why a simulator cannot be deleted now, and what to do; empty if it can."""
    if found.studies:
        studies = ", ".join(found.studies)
        return f"It is the simulator of {studies}: have them use another one first."
    if found.jobs:
        jobs = ", ".join(map(str, found.jobs))
        return f"It is used by job {jobs}: cancel it, or wait for its end."
    return ""


def delete_simulator(session: Session, simulator: Simulator) -> None:
    """Delete a simulator: hide it. A worker then removes what it made. Commits the session.

    The files of a trained one stay: they are the person's who trained it.

    Raises:
        Conflict: A study shows its figures, or a job uses it.
    """
    # A study that chooses it meanwhile waits for this.
    session.refresh(simulator, with_for_update=True)
    if simulator.deleted_at is not None:
        return
    if reason := obstacle(hanging(session, simulator)):
        session.rollback()
        raise Conflict(reason)
    simulator.deleted_at = func.now()
    # The same simulator may be added anew before this one is gone.
    simulator.options = {**simulator.options, "deleted": simulator.id}
    session.commit()
    request_removal("simulator", simulator.id)
