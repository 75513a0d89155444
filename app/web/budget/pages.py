"""The page with a study's error budget."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.services.budget import queries
from app.services.budget.schemas import EntryOut
from app.services.errors import NotFound
from app.services.simulators.independence import study_simulator
from app.services.studies.queries import get_study
from app.services.tables import as_csv
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.jobs.latest import of_latest
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url

router = APIRouter()


@router.get("/studies/{slug}/budget")
def show_budget(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The newest error budget."""
    study = get_study(session, slug)
    budget = queries.get_budget(session, study)
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "budget": budget,
        "in_words": queries.in_words(budget.entries) if budget else "",
        **of_latest(session, study, "attribute"),
    }
    return render(request, "pages/budget.html", context)


@router.post("/studies/{slug}/budget")
def measure(slug: Slug, session: Database, user: CurrentUser) -> RedirectResponse:
    """The button “Measure”."""
    queries.measure(session, get_study(session, slug), user)
    return RedirectResponse(url("budget", slug), 303)


@router.get("/studies/{slug}/budget.csv")
def budget_as_csv(slug: Slug, session: Database) -> Response:
    """All entries as a file."""
    row = queries.measured(session, get_study(session, slug))
    if row is None:
        raise NotFound(f"The error budget of study {slug} is not measured yet.")
    entries = queries.list_entries(session, row)
    text = as_csv(EntryOut, [EntryOut.model_validate(one) for one in entries])
    disposition = {"Content-Disposition": f'attachment; filename="{slug}-error-budget.csv"'}
    return Response(text, media_type="text/csv", headers=disposition)
