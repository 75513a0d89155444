"""The pages about studies: the list, one study's overview, a new study."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.activity.queries import recent_activity
from app.services.budget.queries import summary
from app.services.deletion import studies as deletion
from app.services.errors import Conflict, FieldErrors
from app.services.explanations.drafts import is_instant
from app.services.explanations.queries import authors
from app.services.fields import Sought
from app.services.jobs.queries import latest_job
from app.services.latents.edit_next import EditNext, edit_next
from app.services.latents.filter_schemas import COLUMNS
from app.services.latents.queries import simulated_explanations
from app.services.rewrites.queries import (
    Results,
    count_documents,
    latest_results,
    measured_authors,
    statistics_of,
)
from app.services.rewrites.views import (
    BASELINES,
    LINES,
    OVERS,
    VIEWS,
    Over,
    View,
    baselines,
    rewrites_stream,
)
from app.services.simulators.independence import (
    StudySimulator,
    study_simulator,
    study_simulators,
)
from app.services.studies import queries
from app.services.studies.schemas import StudyCreate, StudyUpdate
from app.services.studies.steps import steps_to_chart
from app.services.studies.text import text_doubts
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import fields_of, form_fields
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.rewrites.charts import loss_chart, missing_latents
from app.web.roles import needs
from app.web.studies.inspection import NOTHING, InspectionView, answer, is_asked, shown
from app.web.templates import render
from app.web.urls import url
from interp.vocabulary import Breadth, Linearisation, Protocol, Role
from jobs.progress import JobLine
from models import Study

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
        return RedirectResponse(url("study", studies[0].slug), 302)
    return _list(request, session, studies)


@router.get("/studies")
def list_studies(request: Request, session: Database) -> HTMLResponse:
    """The list of studies."""
    return _list(request, session, queries.list_studies(session))


def _list(request: Request, session: Session, studies: list[Study]) -> HTMLResponse:
    context = {
        "studies": studies,
        "collecting": queries.uncollected(session, studies),
        "being_deleted": deletion.being_deleted(session),
    }
    return render(request, "pages/studies.html", context)


@router.get("/studies/new")
@needs(Role.ADMIN)
def new_study(
    request: Request,
    session: Database,
    like: Annotated[str, Query(max_length=80, pattern=r"^[a-z0-9-]*$")] = "",
) -> HTMLResponse:
    """The form for a new study.

    Args:
        like: A study that it is filled from.
    """
    if not like:
        return _form(request, {}, {})
    study = queries.get_study(session, like)
    # The site read was perhaps derived from the coder, which may become another one.
    own = {"slug": queries.free_slug(session, like), "reads": ""}
    return _form(request, queries.definition(session, study) | own, {})


@router.post("/studies/new")
@needs(Role.ADMIN)
def create_study(
    request: Request,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """Create the study, or show the form again with what was wrong, or with an inspection."""
    if is_asked(values):
        values, view, status = answer(values, _filled(values))
        return _form(request, values, {}, status, view)
    try:
        data = StudyCreate.model_validate(fields_of(_filled(values), StudyCreate))
        study = queries.create_study(session, data, user)
    except REFUSED as error:
        return _form(request, values, *_refusal(error), shown(values, _filled(values)))
    return RedirectResponse(url("study", study.slug), 303)


@router.get("/studies/{slug}/edit")
@needs(Role.ADMIN)
def edit_form(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The form to change a study: its title, or all of it while nothing is collected."""
    study = queries.get_study(session, slug)
    return _edit_form(request, session, study, queries.definition(session, study), {})


@router.post("/studies/{slug}/edit")
@needs(Role.ADMIN)
def edit(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
) -> Response:
    """The button “Save”, or “Save and collect”: change the study, or show what was wrong, or an
    inspection."""
    study = queries.get_study(session, slug)
    if is_asked(values):
        values, view, status = answer(values, _filled(values))
        return _edit_form(request, session, study, values, {}, status, view)
    try:
        if "model" in values:
            filled = StudyCreate.model_validate(fields_of(_filled(values), StudyCreate))
            # A field that is empty now is to be empty.
            data = StudyUpdate(**filled.model_dump())
        else:
            data = StudyUpdate(title=values.get("title", ""))
        study = queries.update_study(session, study, data)
    except REFUSED as error:
        session.rollback()
        return _edit_form(
            request, session, study, values, *_refusal(error), shown(values, _filled(values))
        )
    return RedirectResponse(url("study", study.slug), 303)


@router.get("/studies/{slug}/delete")
@needs(Role.ADMIN)
def confirm_deletion(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The page that lists the rows deleted with a study, with the button that deletes it."""
    study = queries.get_study(session, slug)
    context = {"study": study, "hanging": deletion.hanging(session, study)}
    return render(request, "pages/study/delete.html", context)


@router.post("/studies/{slug}/delete")
@needs(Role.ADMIN)
def delete(slug: Slug, session: Database) -> RedirectResponse:
    """The button “Delete the study”."""
    deletion.delete_study(session, queries.get_study(session, slug))
    return RedirectResponse(url("studies"), 303)


@router.get("/studies/{slug}")
def study_overview(
    request: Request,
    slug: Slug,
    session: Database,
    protocol: Protocol = Protocol.WHOLE,
    view: View = "calibrations",
    over: Over = "untouched",
    author: Annotated[Sought, Query(max_length=200)] = "",
    line: Annotated[list[Sought] | None, Query(max_length=50)] = None,
    chosen: bool = False,
) -> HTMLResponse:
    """The study's model and corpus, running jobs, the loss chart in one of its views, and the
    latents to edit next.

    Args:
        line: Names of the lines and baselines that the chart shows, if they are ``chosen``.
    """
    shown = set(line or []) if chosen else None
    study = queries.get_study(session, slug)
    latents = queries.count_latents(session, study)
    results = latest_results(session, study, protocol, author)
    simulator = study_simulator(session, study)
    top = results.top if results else None
    on_panel = results.headline.largest if results else None
    jobs, last_job = request.state.jobs(), latest_job(session, study)
    wrote = authors(session, study)
    simulated = bool(simulated_explanations(session, study))
    next_ones = edit_next(session, study, limit=EDIT_NEXT)
    made = {"collect": latents, "explain": wrote, "simulate": simulated}
    return render(
        request,
        "pages/study/overview.html",
        {
            "study": study,
            "simulator": simulator,
            "simulators": study_simulators(session, study),
            "latents": latents,
            "text_doubts": text_doubts(session, study),
            "author": author,
            "authors": wrote,
            "measured_authors": sorted({"", *measured_authors(session, study, protocol)}),
            "protocol": protocol,
            "protocols": Protocol,
            "view": view,
            "views": VIEWS,
            "over": over,
            "overs": OVERS,
            "lines": LINES[view],
            "baselines": BASELINES,
            "drawn": baselines(study),
            "stream": rewrites_stream(study),
            "results": results,
            "shown": shown,
            "at": _addresses(study, protocol, view, over, author, shown),
            "activity": recent_activity(session, study, limit=ACTIVITY),
            "top": top,
            "statistics": statistics_of(top) if top else None,
            "on_panel": statistics_of(on_panel) if on_panel else None,
            "measured_on": _measured_on(session, study, simulator, results, jobs)
            if results
            else None,
            "latents_missing": missing_latents(top, latents) if top else 0,
            "chart": loss_chart(
                results,
                view,
                latents,
                over,
                simulator.assessment if simulator else None,
                shown,
                baselines(study),
            )
            if results
            else None,
            "simulated": simulated,
            "steps": steps_to_chart(
                jobs, last_job, done=[kind for kind, found in made.items() if found]
            ),
            "edit_next": next_ones,
            "budget_in_words": summary(session, study),
            "points": Linearisation,
            "list_columns": [*COLUMNS, "estimated_effect"],
            "open_one": _one_to_open(study, next_ones, latents, simulated),
            "jobs": jobs,
            "last_job": last_job,
            "correctable": queries.can_correct(session, study) is not None,
        },
    )


class MeasuredOn(NamedTuple):
    """The contexts that the largest figures of the overview are measured on."""

    breadth: Breadth
    contexts: int
    documents: int
    panel: int
    """Contexts that the chart is measured on."""
    follow: bool
    """True if jobs are on their way to measure all contexts."""


def _measured_on(
    session: Session,
    study: Study,
    simulator: StudySimulator | None,
    results: Results,
    jobs: Sequence[JobLine],
) -> MeasuredOn:
    shown = results.widest
    panel = len(shown.rewrite.context_ids)
    return MeasuredOn(
        breadth=shown.breadth,
        contexts=shown.contexts,
        documents=count_documents(session, study, shown),
        panel=panel,
        follow=shown.breadth == Breadth.PANEL
        and shown.rewrite.protocol == Protocol.WHOLE
        and panel < study.contexts_evaluate
        and simulator is not None
        and is_instant(simulator.simulator)
        and any(job.kind == "rewrite" for job in jobs),
    )


def _one_to_open(study: Study, found: EditNext, latents: int, simulated: bool) -> str:
    """The address of a latent for a first look: one with much to win, or any with a simulation."""
    if found.rows:
        return url("latent", study.slug, found.rows[0]["index"])
    if not latents:
        return url("latents", study.slug)
    return url("random_latent", study.slug, **({"simulated": True} if simulated else {}))


def _addresses(
    study: Study, protocol: Protocol, view: View, over: Over, author: str, shown: set[str] | None
) -> Callable[..., str]:
    """Addresses of the overview, and of its figures, in another state. They name only values other
    than the default. The chosen lines are those of one view."""
    now: dict[str, Any] = {"protocol": protocol, "view": view, "over": over}

    def at(page: str = "study", /, *, all_lines: bool = False, **changes: str) -> str:
        state = {**now, **changes}
        if state["over"] == "untouched":
            del state["over"]
        if author:
            state["author"] = author
        if shown is not None and state["view"] == view and not all_lines:
            state |= {"chosen": True, "line": sorted(shown)}
        return url(page, study.slug, **state)

    return at


REFUSED = (ValidationError, FieldErrors, Conflict)


def _filled(values: dict[str, str]) -> dict[str, str]:
    """The fields of a form that are not empty."""
    filled = {name: value for name, value in values.items() if value.strip()}
    # A box that is not ticked sends nothing.
    return filled | {"prepend_bos": str("prepend_bos" in values)}


def _refusal(error: Exception) -> tuple[dict[str, str], int]:
    """The errors of each field, and the status of the answer."""
    match error:
        case ValidationError():
            return messages(error), 422
        case FieldErrors():
            return error.errors, 422
        case queries.SlugTaken():
            return {"slug": str(error)}, 409
        case Conflict():
            return {"form": str(error)}, 409
    raise error


def _edit_form(
    request: Request,
    session: Session,
    study: Study,
    values: dict[str, Any],
    errors: dict[str, str],
    status: int = 200,
    inspection: InspectionView = NOTHING,
) -> HTMLResponse:
    job = queries.can_correct(session, study)
    context = {
        "study": study,
        "failed": job,
        "fields": StudyCreate.model_fields,
        "values": values,
        "errors": errors,
        "inspection": inspection,
    }
    return render(request, "pages/study/edit.html", context, status)


def _form(
    request: Request,
    values: dict[str, Any],
    errors: dict[str, str],
    status: int = 200,
    inspection: InspectionView = NOTHING,
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
        "inspection": inspection,
    }
    return render(request, "pages/study/new.html", context, status)
