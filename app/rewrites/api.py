"""Rewrites as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.database import Database, columns
from app.jobs.schemas import JobOut
from app.rewrites import queries
from app.rewrites.schemas import PointOut, RewriteCreate, RewriteOut, RewriteSummary
from app.security import CurrentUser
from app.simulators.queries import verdict
from app.simulators.schemas import Verdict
from app.studies.queries import Slug, get_study
from models import Job, Rewrite

router = APIRouter(tags=["rewrites"])


@router.get("/studies/{slug}/rewrites", summary="List rewrites")
def list_rewrites(slug: Slug, session: Database) -> list[RewriteSummary]:
    """Rewrites of a study by any simulator, newest first."""
    study = get_study(session, slug)
    rewrites = queries.list_rewrites(session, study)
    worth = {n: verdict(session, study, n) for n in {one.simulator_id for one in rewrites}}
    return [_summary(rewrite, worth[rewrite.simulator_id]) for rewrite in rewrites]


@router.get("/studies/{slug}/rewrites/{rewrite_id}", summary="Get a rewrite with its points")
def get_rewrite(
    slug: Slug,
    rewrite_id: Annotated[int, Path(ge=1, lt=2**63, description="Number of a rewrite.")],
    session: Database,
) -> RewriteOut:
    """One rewrite with the points measured so far."""
    study = get_study(session, slug)
    rewrite = queries.get_rewrite(session, study, rewrite_id)
    points = [PointOut.model_validate(point) for point in queries.list_points(session, rewrite)]
    summary = _summary(rewrite, verdict(session, study, rewrite.simulator_id))
    return RewriteOut(
        **summary.model_dump(),
        explanation_ids=rewrite.explanation_ids,
        orderings=rewrite.orderings,
        context_ids=rewrite.context_ids,
        points=points,
    )


@router.post(
    "/studies/{slug}/rewrites",
    summary="Measure the layer again",
    status_code=201,
    response_model=JobOut,
)
def create_rewrite(slug: Slug, data: RewriteCreate, session: Database, user: CurrentUser) -> Job:
    """Queue a rewrite of all latents that are simulated, best correlation first."""
    return queries.measure(session, get_study(session, slug), data.protocol, data.author, user)


def _summary(rewrite: Rewrite, worth: Verdict | None) -> RewriteSummary:
    return RewriteSummary.model_validate({**columns(rewrite), "cleanliness": worth})
