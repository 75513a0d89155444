"""The error budget as JSON."""

from fastapi import APIRouter

from app.services.budget import queries
from app.services.budget.schemas import BudgetOut, ComparedOut, EntryOut
from app.services.errors import NotFound
from app.services.jobs.schemas import JobOut
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from models import Job

router = APIRouter(tags=["rewrites"])


@router.get("/studies/{slug}/budget", summary="Get the error budget")
def get_budget(slug: Slug, session: Database) -> BudgetOut:
    """How the loss increase of the rewritten layer divides among prediction errors and groups of
    latents, estimated to first order, beside exact losses."""
    study = get_study(session, slug)
    found = queries.get_budget(session, study)
    if found is None:
        raise NotFound(f"The error budget of study {slug} is not measured yet.")
    row = found.attribution
    return BudgetOut(
        attribution_id=row.id,
        simulator_id=row.simulator_id,
        independence=independence_of(session, study, row.simulator_id),
        explanations=len(row.explanation_ids),
        contexts=len(row.context_ids),
        documents=found.documents,
        seed=row.seed,
        code_version=row.code_version,
        created_at=row.created_at,
        in_words=queries.in_words(found.entries),
        entries=[EntryOut.model_validate(one) for one in found.entries],
        compared=[ComparedOut.model_validate(one) for one in found.compared],
    )


@router.post(
    "/studies/{slug}/budget",
    summary="Measure the error budget",
    status_code=201,
    response_model=JobOut,
)
def create_budget(slug: Slug, session: Database, user: CurrentUser) -> Job:
    """Queue new estimates of the loss effects of all simulated latents, with the error budget."""
    return queries.measure(session, get_study(session, slug), user)
