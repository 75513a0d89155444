"""The list of latents as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.services.explanations import measuring
from app.services.jobs.schemas import JobOut
from app.services.latents import edit_next as next_ones
from app.services.latents import listing, meaning
from app.services.latents.filter_schemas import LatentQuery
from app.services.latents.queries import study_and_latent
from app.services.latents.schemas import (
    EditNextList,
    EditNextOut,
    LatentList,
    LatentSummary,
)
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Index, Slug
from interp.vocabulary import Linearisation
from models import Job

router = APIRouter(tags=["latents"])


@router.get("/studies/{slug}/latents", summary="List latents")
def list_latents(
    slug: Slug, wanted: Annotated[LatentQuery, Query()], session: Database
) -> LatentList:
    """Latents of a study, filtered and sorted as on the page.

    A long list comes in parts: ask again with `after` set to the answer's `after`.
    """
    study = get_study(session, slug)
    found = listing.list_latents(session, study, wanted, limit=wanted.limit)
    return LatentList(
        total=found.total,
        more=found.more,
        before=str(found.before) if found.before else None,
        after=str(found.after) if found.after else None,
        independence=independence_of(session, study, study.simulator_id),
        items=[LatentSummary.model_validate(row) for row in found.rows],
    )


@router.post(
    "/studies/{slug}/embed",
    summary="Embed explanations for search by meaning",
    status_code=201,
    response_model=JobOut,
)
def embed_study(slug: Slug, session: Database, user: CurrentUser) -> Job:
    """Queue the embedding of explanations that have none: those older than the fetched model."""
    return meaning.embed_study(session, get_study(session, slug), user)


@router.get("/studies/{slug}/edit-next", summary="List latents to edit next")
def edit_next(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=500, description="Most rows to return.")] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="Rows to skip first.")] = 0,
    point: Annotated[
        Linearisation, Query(description="The point of linearisation of the estimates that rank.")
    ] = Linearisation.REAL_LATENTS,
) -> EditNextList:
    """Latents by how much loss a better explanation could still win back, dearest first.

    A first-order estimate ranks them, if one is made; else the exact loss effect. Latents without
    the one that ranks are not in it.
    """
    study = get_study(session, slug)
    found = next_ones.edit_next(session, study, limit=limit, offset=offset, point=point)
    return EditNextList(
        total=found.total,
        clear=found.clear,
        estimated=found.estimated,
        point=found.point,
        agreement=found.agreement,
        on_same_contexts=found.on_same_contexts,
        independence=independence_of(session, study, study.simulator_id),
        items=[EditNextOut.model_validate(dict(row)) for row in found.rows],
    )


@router.post(
    "/studies/{slug}/latents/{index}/measure",
    summary="Measure the loss effect of a latent",
    status_code=201,
    response_model=JobOut,
)
def measure(slug: Slug, index: Index, session: Database, user: CurrentUser) -> Job:
    """Queue the exact measurement of a simulated latent's loss effect, which is estimated only."""
    return measuring.measure(session, *study_and_latent(session, slug, index), user)
