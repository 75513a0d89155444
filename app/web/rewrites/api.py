"""Rewrites as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.services.errors import NotFound
from app.services.fields import Sought
from app.services.jobs.schemas import JobOut
from app.services.rewrites import queries
from app.services.rewrites.compare import compare_rewrites
from app.services.rewrites.figures import figures
from app.services.rewrites.schemas import (
    AllContextsOut,
    ChangedOut,
    Figures,
    PairOut,
    PointOut,
    RewriteComparison,
    RewriteCreate,
    RewriteOut,
    RewriteSummary,
)
from app.services.rewrites.views import View
from app.services.rows import columns
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from interp.vocabulary import Independence, Protocol
from models import Job, Rewrite

router = APIRouter(tags=["rewrites"])


@router.get("/studies/{slug}/rewrites", summary="List rewrites")
def list_rewrites(slug: Slug, session: Database) -> list[RewriteSummary]:
    """Rewrites of a study by any simulator, newest first."""
    study = get_study(session, slug)
    rewrites = queries.list_rewrites(session, study)
    independence = {
        n: independence_of(session, study, n) for n in {one.simulator_id for one in rewrites}
    }
    return [_summary(rewrite, independence[rewrite.simulator_id]) for rewrite in rewrites]


@router.get("/studies/{slug}/rewrites/{rewrite_id}", summary="Get a rewrite with its points")
def get_rewrite(
    slug: Slug,
    rewrite_id: Annotated[int, Path(ge=1, lt=2**63, description="Number of a rewrite.")],
    session: Database,
) -> RewriteOut:
    """One rewrite with the points measured so far."""
    study = get_study(session, slug)
    rewrite = queries.get_rewrite(session, study, rewrite_id)
    found = queries.results_of(session, rewrite)
    summary = _summary(rewrite, independence_of(session, study, rewrite.simulator_id))
    return RewriteOut(
        **summary.model_dump(),
        explanation_ids=rewrite.explanation_ids,
        orderings=rewrite.orderings,
        context_ids=rewrite.context_ids,
        points=_points(found),
        all_contexts=AllContextsOut(
            context_ids=queries.all_context_ids(session, study, rewrite),
            points=_points(found.all_contexts),
        )
        if found.all_contexts
        else None,
    )


@router.delete("/studies/{slug}/rewrites/{rewrite_id}", summary="Delete a rewrite", status_code=204)
def delete_rewrite(
    slug: Slug,
    rewrite_id: Annotated[int, Path(ge=1, lt=2**63, description="Number of a rewrite.")],
    session: Database,
) -> None:
    """Delete a rewrite with its points, once its job has ended. The chart shows the one before."""
    study = get_study(session, slug)
    queries.delete_rewrite(session, queries.get_rewrite(session, study, rewrite_id))


@router.get("/studies/{slug}/figures", summary="Get the figures of the loss chart")
def get_figures(
    slug: Slug,
    session: Database,
    protocol: Annotated[Protocol, Query(description="Spliced positions.")] = Protocol.WHOLE,
    view: Annotated[View, Query(description="View of the chart.")] = "calibrations",
    author: Annotated[
        Sought, Query(max_length=200, description="Explanations' author; current ones if empty.")
    ] = "",
) -> Figures:
    """The points that the newest rewrite's chart shows, with intervals."""
    study = get_study(session, slug)
    results = queries.latest_results(session, study, protocol, author)
    if results is None:
        raise NotFound(f"Study {slug} has no such rewrite yet, so there are no figures.")
    return Figures(
        rewrite_id=results.rewrite.id,
        protocol=protocol,
        author=author,
        figures=figures(results, view),
    )


@router.get("/studies/{slug}/compare", summary="Compare two rewrites")
def compare(
    slug: Slug,
    session: Database,
    a: Annotated[int, Query(ge=1, lt=2**63, description="Number of a rewrite.")],
    b: Annotated[int, Query(ge=1, lt=2**63, description="Number of another one.")],
) -> RewriteComparison:
    """Paired differences between two rewrites, on the contexts that both were measured on."""
    study = get_study(session, slug)
    first, second = (queries.get_rewrite(session, study, number) for number in (a, b))
    found = compare_rewrites(session, first, second)
    return RewriteComparison(
        first=a,
        second=b,
        contexts=found.contexts,
        pairs=[PairOut.model_validate(pair) for pair in found.pairs],
        changed=[ChangedOut.model_validate(one) for one in found.changed],
    )


@router.post(
    "/studies/{slug}/rewrites",
    summary="Rewrite the layer again",
    status_code=201,
    response_model=JobOut,
)
def create_rewrite(slug: Slug, data: RewriteCreate, session: Database, user: CurrentUser) -> Job:
    """Queue a rewrite of all latents that are simulated, best correlation first."""
    return queries.measure(session, get_study(session, slug), data.protocol, data.author, user)


def _points(results: queries.Results) -> list[PointOut]:
    return [PointOut.model_validate(point) for point in results.points]


def _summary(rewrite: Rewrite, independence: Independence | None) -> RewriteSummary:
    return RewriteSummary.model_validate({**columns(rewrite), "independence": independence})
