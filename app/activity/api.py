"""What happened in a study, as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.activity.queries import recent_activity
from app.activity.schemas import Activity
from app.database import Database
from app.studies.queries import Slug, get_study

router = APIRouter(tags=["studies"])


@router.get("/studies/{slug}/activity", summary="List what happened of late")
def list_activity(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=100, description="How many to return.")] = 20,
) -> list[Activity]:
    """Wordings that people saved, with what each did to the loss, and jobs that ended."""
    return recent_activity(session, get_study(session, slug), limit=limit)
