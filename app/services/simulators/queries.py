"""Simulators in the database."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import NotFound
from models import Simulator


def list_simulators(session: Session) -> list[Simulator]:
    """All simulators, newest first."""
    query = select(Simulator).where(Simulator.deleted_at.is_(None))
    return list(session.scalars(query.order_by(Simulator.id.desc())))


def get_simulator(session: Session, simulator_id: int) -> Simulator:
    """One simulator.

    Raises:
        NotFound: There is none of this number.
    """
    simulator = session.get(Simulator, simulator_id)
    if simulator is None or simulator.deleted_at is not None:
        raise NotFound(f"There is no simulator {simulator_id}. The simulators' page lists all.")
    return simulator
