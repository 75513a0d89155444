"""Latents and their examples as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import NotFound
from app.explanations.queries import get_explanation
from app.explanations.schemas import ExplanationOut
from app.explanations.views import costs_of, scores_of
from app.jobs.schemas import JobOut
from app.latents import listing, meaning, queries
from app.latents.agreement import agreement
from app.latents.examples import KINDS, intervals
from app.latents.examples import list_examples as examples_of
from app.latents.prompts import prompts
from app.latents.queries import Index
from app.latents.schemas import (
    AgreementOut,
    EditNextList,
    EditNextOut,
    ExampleList,
    ExampleOut,
    IntervalOut,
    Kind,
    LatentFilter,
    LatentList,
    LatentOut,
    LatentQuery,
    LatentSummary,
    PromptList,
    PromptOut,
    SimilarOut,
)
from app.latents.similar import similar_latents
from app.security import CurrentUser
from app.simulators.queries import verdict
from app.studies.queries import Slug, get_study
from models import Explanation, Job, Latent

router = APIRouter(tags=["latents"])

Version = Annotated[
    int | None, Query(ge=1, lt=2**63, description="A version; the current one if left out.")
]


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
        cleanliness=verdict(session, study, study.simulator_id),
        items=[LatentSummary.model_validate(row) for row in found.rows],
    )


@router.get("/studies/{slug}/latents/random", summary="Draw a latent")
def random_latent(
    slug: Slug, wanted: Annotated[LatentFilter, Query()], session: Database
) -> LatentOut:
    """Any latent of those that match a filter, each as likely as the others."""
    index = listing.random_latent(session, get_study(session, slug), wanted)
    if index is None:
        raise NotFound("No latent matches the filter, so there is none to draw.")
    return get_latent(slug, index, session)


@router.post(
    "/studies/{slug}/embed",
    summary="Make explanations ready for search by meaning",
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
    limit: Annotated[int, Query(ge=1, le=500, description="How many to return.")] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="How many to leave out first.")] = 0,
) -> EditNextList:
    """Latents by how much loss a better explanation could still win back, dearest first.

    Latents whose cost is not known are not in it.
    """
    study = get_study(session, slug)
    found = queries.edit_next(session, study, limit=limit, offset=offset)
    return EditNextList(
        total=found.total,
        clear=found.clear,
        cleanliness=verdict(session, study, study.simulator_id),
        items=[EditNextOut.model_validate(dict(row)) for row in found.rows],
    )


@router.get("/studies/{slug}/latents/{index}", summary="Get a latent")
def get_latent(slug: Slug, index: Index, session: Database) -> LatentOut:
    """One latent: statistics, current explanation, its scores and its costs."""
    study, latent = queries.study_and_latent(session, slug, index)
    current = get_explanation(session, latent.explanation_id) if latent.explanation_id else None
    return LatentOut(
        study=study.slug,
        index=latent.index,
        firing_rate=latent.firing_rate,
        max_activation=latent.max_activation,
        mean_activation=latent.mean_activation,
        quantiles=latent.quantiles,
        histogram=latent.histogram,
        intervals=[IntervalOut.model_validate(one) for one in intervals(latent)]
        if latent.max_activation > 0
        else [],
        promoted=latent.promoted,
        suppressed=latent.suppressed,
        explanation=ExplanationOut.model_validate(current) if current else None,
        scores=scores_of(session, study, current) if current else [],
        costs=costs_of(session, study, current) if current else [],
    )


@router.get("/studies/{slug}/latents/{index}/examples", summary="List examples of a latent")
def list_examples(
    slug: Slug,
    index: Index,
    session: Database,
    explanation_id: Version = None,
    kind: Annotated[Kind | None, Query(description="Only these; all if left out.")] = None,
) -> ExampleList:
    """Examples with real and simulated activations, token by token."""
    study, latent = queries.study_and_latent(session, slug, index)
    explanation = _version(session, latent, explanation_id)
    examples = examples_of(session, study, latent, explanation, [kind] if kind else KINDS)
    return ExampleList(
        explanation_id=explanation.id if explanation else None,
        items=[ExampleOut.model_validate(example) for example in examples],
    )


@router.get(
    "/studies/{slug}/latents/{index}/agreement", summary="Hold simulated against real activations"
)
def get_agreement(
    slug: Slug, index: Index, session: Database, explanation_id: Version = None
) -> AgreementOut:
    """Simulated and real activations on the calibrate set: points, calibration, confusion.

    404 if the explanation is not simulated there, or if this server does not have the real
    activations.
    """
    study, latent = queries.study_and_latent(session, slug, index)
    explanation = _version(session, latent, explanation_id)
    if explanation is None:
        raise NotFound(f"Latent {index} has no explanation yet, so nothing is simulated.")
    found = agreement(session, study, latent, explanation)
    worth = verdict(session, study, found.simulator_id)
    return AgreementOut.model_validate({**vars(found), "cleanliness": worth})


@router.get("/studies/{slug}/latents/{index}/similar", summary="List similar latents")
def list_similar(slug: Slug, index: Index, session: Database) -> SimilarOut:
    """Latents with the nearest decoder directions, and those with explanations nearest in meaning.

    Each is null where it is not known: the study was collected without, or the explanation has no
    embedding yet.
    """
    study, latent = queries.study_and_latent(session, slug, index)
    found = similar_latents(session, study, latent)
    return SimilarOut.model_validate(found, from_attributes=True)


@router.get("/studies/{slug}/latents/{index}/prompts", summary="List an explainer's prompts")
def list_prompts(slug: Slug, index: Index, session: Database) -> PromptList:
    """What the prompted and the contrastive explainer would ask a language model, word by word."""
    study, latent = queries.study_and_latent(session, slug, index)
    items = [PromptOut.model_validate(one) for one in prompts(session, study, latent)]
    return PromptList(items=items)


def _version(session: Session, latent: Latent, explanation_id: int | None) -> Explanation | None:
    """The version that is asked for: the current one, if none is named."""
    wanted = explanation_id or latent.explanation_id
    explanation = get_explanation(session, wanted) if wanted else None
    if explanation is not None and explanation.latent_id != latent.id:
        raise NotFound(f"Explanation {wanted} is no version of latent {latent.index}.")
    return explanation
