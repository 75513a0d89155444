"""The page with a study's language test."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.language import queries
from app.services.language.schemas import LanguageCreate
from app.services.simulators.independence import study_simulator
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import fields_of, form_fields
from app.web.guard.people import CurrentUser
from app.web.jobs.latest import of_latest
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url
from interp.errors import InputError
from interp.vocabulary import Variant
from models import Study

router = APIRouter()


@router.get("/studies/{slug}/language")
def show_language(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The newest test."""
    return _page(request, session, get_study(session, slug), {}, {})


@router.post("/studies/{slug}/language")
def test(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """The button “Test”: the page with the job, or with what was wrong."""
    study = get_study(session, slug)
    filled = {
        name: value for name, value in fields_of(values, LanguageCreate).items() if value.strip()
    }
    try:
        queries.test(session, study, LanguageCreate.model_validate(filled), user)
    except ValidationError as error:
        return _page(request, session, study, values, messages(error), 422)
    except InputError as error:
        return _page(request, session, study, values, {"path": str(error)}, 422)
    return RedirectResponse(url("language", slug), 303)


def _page(
    request: Request,
    session: Session,
    study: Study,
    values: dict[str, str],
    errors: dict[str, str],
    status: int = 200,
) -> HTMLResponse:
    test = queries.latest_test(session, study)
    variants = queries.list_variants(session, test) if test else []
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "test": test,
        "variants": variants,
        "by_rule": {str(variant): variant for variant in Variant},
        "in_words": queries.in_words(variants),
        "fields": LanguageCreate.model_fields,
        "values": values,
        "errors": errors,
        **of_latest(session, study, "language"),
    }
    return render(request, "pages/language.html", context, status)
