"""One latent and its examples as JSON."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.services.errors import NotFound
from app.services.explanations.queries import get_explanation
from app.services.explanations.scores import scores_of
from app.services.latents import listing, queries
from app.services.latents.agreement import agreement
from app.services.latents.examples import KINDS, intervals
from app.services.latents.examples import list_examples as examples_of
from app.services.latents.filter_schemas import LatentFilter
from app.services.latents.loss_effects import loss_effects_of
from app.services.latents.prompts import prompts
from app.services.latents.schemas import (
    AgreementOut,
    ExampleList,
    ExampleOut,
    IntervalOut,
    LatentOut,
    PromptList,
    PromptOut,
    SimilarOut,
)
from app.services.latents.similar import similar_latents
from app.services.schemas import ExplanationOut
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.params import Index, Slug
from interp.vocabulary import ExampleKind
from models import Explanation, Latent

router = APIRouter(tags=["latents"])

Version = Annotated[
    int | None, Query(ge=1, lt=2**63, description="A version; the current one if left out.")
]


@router.get("/studies/{slug}/latents/random", summary="Draw a latent")
def random_latent(
    slug: Slug, wanted: Annotated[LatentFilter, Query()], session: Database
) -> LatentOut:
    """Any latent of those that match a filter, each as likely as the others."""
    index = listing.random_latent(session, get_study(session, slug), wanted)
    if index is None:
        raise NotFound("No latent matches the filter, so there is none to draw.")
    return get_latent(slug, index, session)


@router.get("/studies/{slug}/latents/{index}", summary="Get a latent")
def get_latent(slug: Slug, index: Index, session: Database) -> LatentOut:
    """One latent: statistics, current explanation, its scores and its loss effects."""
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
        loss_effects=loss_effects_of(session, study, current) if current else [],
    )


@router.get("/studies/{slug}/latents/{index}/examples", summary="List examples of a latent")
def list_examples(
    slug: Slug,
    index: Index,
    session: Database,
    explanation_id: Version = None,
    kind: Annotated[ExampleKind | None, Query(description="Only these; all if left out.")] = None,
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
    independence = independence_of(session, study, found.simulator_id)
    return AgreementOut.model_validate({**vars(found), "independence": independence})


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
    """The prompts of the prompted and the contrastive explainer for this latent, word by word."""
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
