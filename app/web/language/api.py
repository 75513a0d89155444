"""Language tests as JSON."""

from fastapi import APIRouter

from app.services.errors import NotFound
from app.services.jobs.schemas import JobOut
from app.services.language import queries
from app.services.language.schemas import LanguageCreate, LanguageOut, VariantOut
from app.services.rows import columns
from app.services.simulators.independence import independence_of
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from models import Job

router = APIRouter(tags=["language"])


@router.get("/studies/{slug}/language", summary="Get the language test")
def get_language(slug: Slug, session: Database) -> LanguageOut:
    """The newest test of which part of the explanations the study's simulator goes by."""
    study = get_study(session, slug)
    test = queries.latest_test(session, study)
    if test is None:
        raise NotFound(f"The explanations of study {slug} have not been tested yet.")
    variants = queries.list_variants(session, test)
    return LanguageOut(
        **columns(test),
        independence=independence_of(session, study, test.simulator_id),
        in_words=queries.in_words(variants),
        variants=[VariantOut.model_validate(one) for one in variants],
    )


@router.post(
    "/studies/{slug}/language",
    summary="Test the explanations under variants",
    status_code=201,
    response_model=JobOut,
)
def create_language(slug: Slug, data: LanguageCreate, session: Database, user: CurrentUser) -> Job:
    """Queue a test: every explanation is reworded by rules, simulated and rewritten anew."""
    return queries.test(session, get_study(session, slug), data, user)
