"""Studies as JSON."""

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.services.deletion import studies as deletion
from app.services.studies import queries
from app.services.studies.schemas import Hanging, StudyCreate, StudyOut, StudyUpdate
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.roles import needs
from interp.vocabulary import Role
from models import Study

router = APIRouter(tags=["studies"])


@router.get("/studies", summary="List studies", response_model=list[StudyOut])
def list_studies(session: Database) -> list[Study]:
    """All studies, newest first."""
    return queries.list_studies(session)


@router.post("/studies", summary="Create a study", status_code=201, response_model=StudyOut)
@needs(Role.ADMIN)
def create_study(data: StudyCreate, session: Database, user: CurrentUser) -> Study:
    """Create a study and queue the collection of its activations. Its files are looked at first:
    paths, layers, widths and text must fit together. Names on a hub are looked up by the job."""
    return queries.create_study(session, data, user)


@router.get("/studies/{slug}", summary="Get a study", response_model=StudyOut)
def get_study(slug: Slug, session: Database) -> Study:
    """One study."""
    return queries.get_study(session, slug)


@router.patch("/studies/{slug}", summary="Change a study", response_model=StudyOut)
@needs(Role.ADMIN)
def update_study(slug: Slug, data: StudyUpdate, session: Database) -> Study:
    """Change the title, or the simulator whose figures the pages show. While nothing is collected
    and the collect job has failed or was cancelled, all other fields can be corrected too. A
    correction queues the job again."""
    try:
        return queries.update_study(session, queries.get_study(session, slug), data)
    except ValidationError as error:
        # The study that the correction makes of it: the same answer as for a new one.
        found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from None


@router.get("/studies/{slug}/deletion", summary="Preview the deletion of a study")
def get_hanging(slug: Slug, session: Database) -> Hanging:
    """The rows that would be deleted with the study."""
    return deletion.hanging(session, queries.get_study(session, slug))


@router.delete("/studies/{slug}", summary="Delete a study", status_code=204)
@needs(Role.ADMIN)
def delete_study(slug: Slug, session: Database) -> None:
    """Delete a study with all that hangs on it, for good. It is gone at once. A worker then removes
    its rows and files. The model, the coder and the corpus stay."""
    deletion.delete_study(session, queries.get_study(session, slug))
