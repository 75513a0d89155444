"""Recent activity in a study, as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.services.activity.queries import recent_activity
from app.services.activity.schemas import Activity
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.params import Slug

router = APIRouter(tags=["studies"])


@router.get("/studies/{slug}/activity", summary="List recent activity")
def list_activity(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=100, description="Most rows to return.")] = 20,
) -> list[Activity]:
    """Explanations that people saved, with their effect on the loss, and jobs that ended."""
    return recent_activity(session, get_study(session, slug), limit=limit)
