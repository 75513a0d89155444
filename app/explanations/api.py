"""Explanations and their scores as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.database import Database
from app.explanations import queries
from app.explanations.schemas import (
    ExplanationCreate,
    ExplanationList,
    ExplanationOut,
    ExplanationSaved,
    ScoreOut,
)
from app.explanations.views import costs_of, scores_of
from app.jobs.schemas import JobOut
from app.latents.queries import Index, get_latent
from app.latents.schemas import CostOut
from app.security import CurrentUser
from app.studies.queries import Slug, get_study
from models import Explanation, Job, Latent, Study

router = APIRouter(tags=["explanations"])

ExplanationId = Annotated[int, Path(ge=1, lt=2**63, description="Number of an explanation.")]


@router.get("/studies/{slug}/latents/{index}/explanations", summary="List explanations of a latent")
def list_explanations(slug: Slug, index: Index, session: Database) -> ExplanationList:
    """Every version of a latent's text, newest first."""
    study = get_study(session, slug)
    latent = get_latent(session, study, index)
    versions = queries.list_versions(session, study, latent)
    items = [ExplanationOut.model_validate(version.explanation) for version in versions]
    return ExplanationList(current_id=latent.explanation_id, items=items)


@router.post(
    "/studies/{slug}/latents/{index}/explanations",
    summary="Save a new wording and simulate it",
    status_code=201,
)
def create_explanation(
    slug: Slug, index: Index, data: ExplanationCreate, session: Database, user: CurrentUser
) -> ExplanationSaved:
    """Save a new wording, make it the current one, and queue its simulation and the rewrite."""
    study = get_study(session, slug)
    latent = get_latent(session, study, index)
    saved = queries.save_explanation(session, study, latent, data.text, data.parent_id, user)
    return ExplanationSaved(
        explanation=ExplanationOut.model_validate(saved.explanation),
        job_id=saved.job.id,
        conflict=saved.conflict,
    )


@router.get(
    "/explanations/{explanation_id}", summary="Get an explanation", response_model=ExplanationOut
)
def get_explanation(explanation_id: ExplanationId, session: Database) -> Explanation:
    """One version of a latent's text."""
    return queries.get_explanation(session, explanation_id)


@router.post(
    "/explanations/{explanation_id}/simulate",
    summary="Simulate an explanation that has no simulation",
    status_code=201,
    response_model=JobOut,
)
def simulate(explanation_id: ExplanationId, session: Database, user: CurrentUser) -> Job:
    """Queue the simulation of an explanation by the study's simulator."""
    study, explanation = _with_study(session, explanation_id)
    return queries.simulate(session, study, explanation, user)


@router.get("/explanations/{explanation_id}/scores", summary="List scores of an explanation")
def list_scores(explanation_id: ExplanationId, session: Database) -> list[ScoreOut]:
    """How well an explanation predicts its latent under the study's simulator."""
    return scores_of(session, *_with_study(session, explanation_id))


@router.get("/explanations/{explanation_id}/costs", summary="List costs of an explanation")
def list_costs(explanation_id: ExplanationId, session: Database) -> list[CostOut]:
    """Loss increase when only this latent is zeroed, or rewritten with this explanation."""
    return costs_of(session, *_with_study(session, explanation_id))


def _with_study(session: Database, explanation_id: int) -> tuple[Study, Explanation]:
    explanation = queries.get_explanation(session, explanation_id)
    latent = session.get_one(Latent, explanation.latent_id)
    return session.get_one(Study, latent.study_id), explanation
