"""The pages about studies: the list, one study's overview, a new study."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app.activity.queries import recent_activity
from app.database import Database
from app.errors import messages
from app.explanations.queries import authors
from app.forms import form_fields
from app.jobs.queries import latest_job
from app.latents.queries import edit_next, simulated_explanations
from app.latents.schemas import NoNul
from app.rewrites.charts import loss_chart, missing_latents
from app.rewrites.queries import latest_results, measured_authors, statistics_of
from app.rewrites.schemas import Protocol
from app.rewrites.views import BASELINES, LINES, OVERS, PROTOCOLS, VIEWS, Over, View
from app.security import CurrentUser
from app.simulators.queries import study_simulator, study_simulators
from app.studies import queries
from app.studies.queries import Slug
from app.studies.schemas import StudyCreate
from app.studies.text import text_doubts
from app.templates import render

router = APIRouter()

ACTIVITY = 8
"""Things that happened of late that the overview lists."""
EDIT_NEXT = 8
"""Latents to edit next that the overview shows."""


@router.get("/")
def first_page(request: Request, session: Database) -> Response:
    """The only study, or the list of studies."""
    studies = queries.list_studies(session)
    if len(studies) == 1:
        return RedirectResponse(f"/studies/{studies[0].slug}", 302)
    return render(request, "studies.html", {"studies": studies})


@router.get("/studies")
def list_studies(request: Request, session: Database) -> HTMLResponse:
    """The list of studies."""
    return render(request, "studies.html", {"studies": queries.list_studies(session)})


@router.get("/studies/new")
def new_study(request: Request) -> HTMLResponse:
    """The form for a new study."""
    return _form(request, {}, {})


@router.post("/studies/new")
def create_study(
    request: Request,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """Create the study, or show the form again with what was wrong."""
    filled = {name: value for name, value in values.items() if value.strip()}
    # A box that is not ticked sends nothing.
    filled["prepend_bos"] = str("prepend_bos" in values)
    try:
        study = queries.create_study(session, StudyCreate.model_validate(filled), user)
    except ValidationError as error:
        return _form(request, values, messages(error), 422)
    except queries.SlugTaken as error:
        return _form(request, values, {"slug": error.detail}, 409)
    return RedirectResponse(f"/studies/{study.slug}", 303)


@router.get("/studies/{slug}")
def study_overview(
    request: Request,
    slug: Slug,
    session: Database,
    protocol: Protocol = "whole",
    view: View = "calibrations",
    over: Over = "untouched",
    author: Annotated[NoNul, Query(max_length=200)] = "",
    line: Annotated[list[NoNul] | None, Query(max_length=50)] = None,
    chosen: bool = False,
) -> HTMLResponse:
    """What is studied, what runs, the loss chart in one of its views, and what to edit next.

    Args:
        line: Names of the lines and baselines that the chart shows, if they are ``chosen``.
    """
    shown = set(line or []) if chosen else None
    study = queries.get_study(session, slug)
    latents = queries.count_latents(session, study)
    results = latest_results(session, study, protocol, author)
    simulator = study_simulator(session, study)
    top = results.top if results else None
    return render(
        request,
        "study.html",
        {
            "study": study,
            "simulator": simulator,
            "simulators": study_simulators(session, study),
            "latents": latents,
            "text_doubts": text_doubts(session, study),
            "author": author,
            "authors": authors(session, study),
            "measured_authors": sorted({"", *measured_authors(session, study, protocol)}),
            "protocol": protocol,
            "protocols": PROTOCOLS,
            "view": view,
            "views": VIEWS,
            "over": over,
            "overs": OVERS,
            "lines": LINES[view],
            "baselines": BASELINES,
            "results": results,
            "shown": shown,
            "kept": "&"
            + urlencode([("chosen", "true"), *(("line", name) for name in sorted(shown))])
            if shown is not None
            else "",
            "activity": recent_activity(session, study, limit=ACTIVITY),
            "top": top,
            "statistics": statistics_of(top) if top else None,
            "latents_missing": missing_latents(top, latents) if top else 0,
            "chart": loss_chart(
                results, view, latents, over, simulator.cleanliness if simulator else None, shown
            )
            if results
            else None,
            "simulated": bool(simulated_explanations(session, study)),
            "edit_next": edit_next(session, study, limit=EDIT_NEXT),
            "jobs": request.state.jobs(),
            "last_job": latest_job(session, study),
        },
    )


def _form(
    request: Request, values: dict[str, Any], errors: dict[str, str], status: int = 200
) -> HTMLResponse:
    defaults = {
        name: field.default
        for name, field in StudyCreate.model_fields.items()
        if not field.is_required() and field.default is not None
    }
    context = {
        "fields": StudyCreate.model_fields,
        "values": values or defaults,
        "errors": errors,
    }
    return render(request, "study_new.html", context, status)
