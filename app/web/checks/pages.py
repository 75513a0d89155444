"""The page with a study's sanity checks."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.services.checks import queries
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.jobs.latest import of_latest
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url

router = APIRouter()


@router.get("/studies/{slug}/checks")
def show_checks(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The latest outcome of each check."""
    study = get_study(session, slug)
    context = {
        "study": study,
        "checks": queries.list_checks(session, study),
        **of_latest(session, study, "check"),
    }
    return render(request, "pages/checks.html", context)


@router.post("/studies/{slug}/checks")
def check(slug: Slug, session: Database, user: CurrentUser) -> RedirectResponse:
    """The button “Check”."""
    queries.check(session, get_study(session, slug), user)
    return RedirectResponse(url("checks", slug), 303)
