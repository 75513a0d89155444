"""Simulators as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.services.deletion import simulators as deletion
from app.services.simulators import adding, independence, queries
from app.services.simulators.schemas import (
    SimulatorCreate,
    SimulatorHanging,
    SimulatorOut,
    StudySimulatorOut,
)
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.params import Slug
from app.web.roles import needs
from interp.vocabulary import Role
from models import Simulator

router = APIRouter(tags=["simulators"])

SimulatorId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a simulator.")]


@router.get("/simulators", summary="List simulators", response_model=list[SimulatorOut])
def list_simulators(session: Database) -> list[Simulator]:
    """All simulators, newest first."""
    return queries.list_simulators(session)


@router.post("/simulators", summary="Add a simulator", status_code=201, response_model=SimulatorOut)
@needs(Role.ADMIN)
def add_simulator(data: SimulatorCreate, session: Database) -> Simulator:
    """Add a prompted or a trained simulator. The same one again is the same simulator."""
    return adding.add_simulator(session, data)


@router.get("/simulators/{simulator_id}", summary="Get a simulator", response_model=SimulatorOut)
def get_simulator(simulator_id: SimulatorId, session: Database) -> Simulator:
    """One simulator."""
    return queries.get_simulator(session, simulator_id)


@router.get("/simulators/{simulator_id}/deletion", summary="Preview the deletion of a simulator")
def get_hanging(simulator_id: SimulatorId, session: Database) -> SimulatorHanging:
    """The rows that would be deleted with the simulator, and the reasons why it cannot be
    deleted."""
    return deletion.hanging(session, queries.get_simulator(session, simulator_id))


@router.delete("/simulators/{simulator_id}", summary="Delete a simulator", status_code=204)
@needs(Role.ADMIN)
def delete_simulator(simulator_id: SimulatorId, session: Database) -> None:
    """Delete a simulator with all that it made, for good. Refused while a study shows its figures
    or a job uses it. The folder of a trained one stays."""
    deletion.delete_simulator(session, queries.get_simulator(session, simulator_id))


@router.get("/studies/{slug}/simulators", summary="List the simulators of a study")
def list_study_simulators(slug: Slug, session: Database) -> list[StudySimulatorOut]:
    """All simulators, with the independence of their figures for this study."""
    study = get_study(session, slug)
    return [
        independence.as_seen(study, one) for one in independence.study_simulators(session, study)
    ]
