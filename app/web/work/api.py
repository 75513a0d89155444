"""Explaining and simulating many latents: the estimated usage, and the job, as JSON."""

from fastapi import APIRouter

from app.services.jobs.queries import get_job
from app.services.jobs.schemas import JobOut
from app.services.studies.queries import get_study
from app.services.work import queries
from app.services.work.schemas import EstimateOut, ExplainCreate, ScoreCreate, SimulateCreate
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.jobs.api import JobId
from app.web.params import Slug
from models import Job

router = APIRouter(tags=["jobs"])


@router.post("/studies/{slug}/explain/estimate", summary="Estimate the usage of explaining")
def estimate_explain(slug: Slug, data: ExplainCreate, session: Database) -> EstimateOut:
    """Estimate the usage of explaining latents, as far as it is known before. Nothing is queued."""
    return queries.estimate_explain(session, get_study(session, slug), data)


@router.post(
    "/studies/{slug}/explain", summary="Explain latents", status_code=201, response_model=JobOut
)
def explain(slug: Slug, data: ExplainCreate, session: Database, user: CurrentUser) -> Job:
    """Queue the explanation of latents, and their simulation if requested."""
    return queries.explain(session, get_study(session, slug), data, user)


@router.post("/studies/{slug}/simulate/estimate", summary="Estimate the usage of simulating")
def estimate_simulate(slug: Slug, data: SimulateCreate, session: Database) -> EstimateOut:
    """Estimate the usage of simulating explanations, as far as it is known before."""
    return queries.estimate_simulate(session, get_study(session, slug), data)


@router.post(
    "/studies/{slug}/simulate",
    summary="Simulate explanations",
    status_code=201,
    response_model=JobOut,
)
def simulate(slug: Slug, data: SimulateCreate, session: Database, user: CurrentUser) -> Job:
    """Queue the simulation of explanations. Existing simulations are not repeated."""
    return queries.simulate(session, get_study(session, slug), data, user)


@router.post("/studies/{slug}/score/estimate", summary="Estimate the usage of scoring")
def estimate_score(slug: Slug, data: ScoreCreate, session: Database) -> EstimateOut:
    """Estimate the usage of scoring explanations, as far as it is known before."""
    return queries.estimate_score(session, get_study(session, slug), data)


@router.post(
    "/studies/{slug}/score", summary="Score explanations", status_code=201, response_model=JobOut
)
def score(slug: Slug, data: ScoreCreate, session: Database, user: CurrentUser) -> Job:
    """Let a language model score explanations, by detection and fuzzing."""
    return queries.score(session, get_study(session, slug), data, user)


@router.post(
    "/jobs/{job_id}/again",
    summary="Simulate explanations with missing values again",
    status_code=201,
    response_model=JobOut,
)
def simulate_again(job_id: JobId, session: Database, user: CurrentUser) -> Job:
    """Queue again the explanations for which a simulate job has missing values."""
    return queries.simulate_again(session, get_job(session, job_id), user)
