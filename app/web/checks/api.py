"""Sanity checks as JSON."""

from fastapi import APIRouter

from app.services.checks import queries
from app.services.checks.schemas import CheckOut
from app.services.jobs.schemas import JobOut
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from models import Check, Job

router = APIRouter(tags=["checks"])


@router.get(
    "/studies/{slug}/checks", summary="List outcomes of checks", response_model=list[CheckOut]
)
def list_checks(slug: Slug, session: Database) -> list[Check]:
    """The latest outcome of each sanity check of a study."""
    return queries.list_checks(session, get_study(session, slug))


@router.post(
    "/studies/{slug}/checks",
    summary="Check the measurements of a study",
    status_code=201,
    response_model=JobOut,
)
def create_checks(slug: Slug, session: Database, user: CurrentUser) -> Job:
    """Queue the sanity checks of a study."""
    return queries.check(session, get_study(session, slug), user)
