"""Generations as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.database import Database
from app.generations import queries
from app.generations.schemas import GenerationCreate, GenerationList, GenerationOut
from app.security import CurrentUser
from app.studies.queries import Slug, get_study
from models import Generation

router = APIRouter(tags=["generations"])

GenerationId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a generation.")]


@router.get("/studies/{slug}/generations", summary="List generations")
def list_generations(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=500, description="How many to return.")] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="How many to leave out first.")] = 0,
) -> GenerationList:
    """Generations of a study, newest first."""
    found, total = queries.list_generations(
        session, get_study(session, slug), limit=limit, offset=offset
    )
    return GenerationList(total=total, items=[GenerationOut.model_validate(g) for g in found])


@router.post(
    "/studies/{slug}/generations",
    summary="Generate with the rewritten model",
    status_code=201,
    response_model=GenerationOut,
)
def create_generation(
    slug: Slug, data: GenerationCreate, session: Database, user: CurrentUser
) -> Generation:
    """Queue the continuations of a prompt: untouched, zero-ablated and rewritten."""
    return queries.create_generation(session, get_study(session, slug), data, user)


@router.get(
    "/studies/{slug}/generations/{generation_id}",
    summary="Get a generation",
    response_model=GenerationOut,
)
def get_generation(slug: Slug, generation_id: GenerationId, session: Database) -> Generation:
    """One generation with the continuations written so far."""
    return queries.get_generation(session, get_study(session, slug), generation_id)
