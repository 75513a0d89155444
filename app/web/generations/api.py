"""Generations as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy.orm import Session

from app.services.generations import queries
from app.services.generations.schemas import GenerationCreate, GenerationList, GenerationOut
from app.services.jobs.queries import delete_own
from app.services.rows import columns
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from models import Generation, Study

router = APIRouter(tags=["generations"])

GenerationId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a generation.")]


@router.get("/studies/{slug}/generations", summary="List generations")
def list_generations(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=500, description="Most rows to return.")] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="Rows to skip first.")] = 0,
) -> GenerationList:
    """Generations of a study, newest first."""
    study = get_study(session, slug)
    found, total = queries.list_generations(session, study, limit=limit, offset=offset)
    return GenerationList(total=total, items=[_out(session, study, one) for one in found])


@router.post(
    "/studies/{slug}/generations",
    summary="Generate with the rewritten model",
    status_code=201,
)
def create_generation(
    slug: Slug, data: GenerationCreate, session: Database, user: CurrentUser
) -> GenerationOut:
    """Queue the continuations of a prompt: untouched, zero-ablated and rewritten."""
    study = get_study(session, slug)
    return _out(session, study, queries.create_generation(session, study, data, user))


@router.get("/studies/{slug}/generations/{generation_id}", summary="Get a generation")
def get_generation(slug: Slug, generation_id: GenerationId, session: Database) -> GenerationOut:
    """One generation with the continuations written so far."""
    study = get_study(session, slug)
    return _out(session, study, queries.get_generation(session, study, generation_id))


@router.delete(
    "/studies/{slug}/generations/{generation_id}", summary="Delete a generation", status_code=204
)
def delete_generation(
    slug: Slug, generation_id: GenerationId, session: Database, user: CurrentUser
) -> None:
    """Delete one of your own, once its job has ended."""
    study = get_study(session, slug)
    delete_own(session, queries.get_generation(session, study, generation_id), user)


def _out(session: Session, study: Study, generation: Generation) -> GenerationOut:
    independence = independence_of(session, study, generation.simulator_id)
    return GenerationOut.model_validate({**columns(generation), "independence": independence})
