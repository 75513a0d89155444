"""Studies as JSON."""

from fastapi import APIRouter

from app.database import Database
from app.security import CurrentUser
from app.studies import queries
from app.studies.queries import Slug
from app.studies.schemas import StudyCreate, StudyOut, StudyUpdate
from models import Study

router = APIRouter(tags=["studies"])


@router.get("/studies", summary="List studies", response_model=list[StudyOut])
def list_studies(session: Database) -> list[Study]:
    """All studies, newest first."""
    return queries.list_studies(session)


@router.post("/studies", summary="Create a study", status_code=201, response_model=StudyOut)
def create_study(data: StudyCreate, session: Database, user: CurrentUser) -> Study:
    """Create a study and queue the collection of its activations."""
    return queries.create_study(session, data, user)


@router.get("/studies/{slug}", summary="Get a study", response_model=StudyOut)
def get_study(slug: Slug, session: Database) -> Study:
    """One study."""
    return queries.get_study(session, slug)


@router.patch("/studies/{slug}", summary="Choose the simulator of a study", response_model=StudyOut)
def update_study(slug: Slug, data: StudyUpdate, session: Database) -> Study:
    """Have the pages of a study, and all lists here, show the figures of another simulator."""
    return queries.use_simulator(session, queries.get_study(session, slug), data.simulator_id)
