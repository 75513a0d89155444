"""The forms to explain latents, and to simulate and score explanations, and their estimates."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict, FieldErrors, NotFound
from app.services.explanations.queries import authors
from app.services.jobs.queries import get_job
from app.services.latents.filter_schemas import LatentMatch
from app.services.simulators.independence import study_simulators
from app.services.studies.queries import count_latents, get_study
from app.services.work import queries
from app.services.work.schemas import (
    EstimateOut,
    ExplainCreate,
    ScoreCreate,
    SimulateCreate,
)
from app.web.database import Database
from app.web.errors import STATUS, messages
from app.web.forms import form_fields
from app.web.guard.people import CurrentUser
from app.web.jobs.api import JobId
from app.web.jobs.pages import Next
from app.web.latents.within import Here, here
from app.web.params import Slug
from app.web.roles import needs
from app.web.templates import render
from app.web.urls import url
from interp.explain.registry import EXPLAINERS, asking
from interp.llm.registry import BACK_ENDS, servers
from interp.vocabulary import Role
from models import Study

router = APIRouter()

LABELS = {
    "simulator_id": "Simulator: ",
    "backend": "Back end: ",
    "model": "Language model: ",
    "base_url": "Address: ",
    "individually": "Latents to measure individually: ",
}
"""The words before a message about a field."""


@router.get("/studies/{slug}/work")
@needs(Role.EDITOR)
def work_page(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """Both forms. Fields in the address are filled in, and their usage is estimated."""
    study = get_study(session, slug)
    values = dict(request.query_params)
    task = values.get("task", "")
    estimate, errors, status = None, {}, 200
    try:
        match task:
            case "explain":
                estimate = queries.estimate_explain(session, study, _explain(values))
            case "simulate":
                estimate = queries.estimate_simulate(session, study, _simulate(values))
            case "score":
                estimate = queries.estimate_score(session, study, _score(values))
    except ValidationError as error:
        errors, status = messages(error), 422
    except (Conflict, NotFound) as error:
        errors, status = {"form": str(error)}, 422
    return _page(request, session, study, values, task, estimate, errors, status)


@router.post("/studies/{slug}/work")
def start(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """The buttons that explain or simulate: queue the job, or show what was wrong."""
    study = get_study(session, slug)
    task = values.get("task", "")
    try:
        match task:
            case "explain":
                queries.explain(session, study, _explain(values), user)
            case "score":
                queries.score(session, study, _score(values), user)
            case _:
                queries.simulate(session, study, _simulate(values), user)
    except ValidationError as error:
        return _page(request, session, study, values, task, None, messages(error), 422)
    except FieldErrors as error:
        return _page(request, session, study, values, task, None, error.errors, 422)
    except (Conflict, NotFound) as error:
        errors = {"form": str(error)}
        return _page(request, session, study, values, task, None, errors, STATUS[type(error)])
    about = _here(study, values)
    return RedirectResponse(about.to() if about else url("study_jobs", slug), 303)


@router.post("/jobs/{job_id}/again")
def simulate_again(
    job_id: JobId, session: Database, user: CurrentUser, back: Next = "/jobs"
) -> RedirectResponse:
    """The button that simulates again what is missing."""
    queries.simulate_again(session, get_job(session, job_id), user)
    return RedirectResponse(back, 303)


def _explain(values: dict[str, str]) -> ExplainCreate:
    asked: dict[str, Any] = _selection(values) | {
        "method": values.get("method", EXPLAINERS.default)
    }
    if asked["method"] in asking():
        asked["llm"] = _llm(values)
    if values.get("simulator_id"):
        asked["then_simulate"] = _simulating(values)
    return ExplainCreate.model_validate(asked)


def _simulate(values: dict[str, str]) -> SimulateCreate:
    asked = _selection(values) | _simulating(values) | _filled(values, "author")
    return SimulateCreate.model_validate(asked)


def _score(values: dict[str, str]) -> ScoreCreate:
    asked = _selection(values) | _filled(values, "author") | {"llm": _llm(values)}
    return ScoreCreate.model_validate(asked)


def _llm(values: dict[str, str]) -> dict[str, str]:
    llm = _filled(values, "backend", "model")
    # The address is hidden for the other back ends; what was left in it is not meant.
    return llm | (_filled(values, "base_url") if llm.get("backend") in servers() else {})


def _selection(values: dict[str, str]) -> dict[str, Any]:
    selected: dict[str, Any] = _filled(values, *LatentMatch.model_fields)
    return selected | ({"latents": [values["latent"]]} if values.get("latent") else {})


def _simulating(values: dict[str, str]) -> dict[str, Any]:
    # A box that is not ticked sends nothing.
    return _filled(values, "simulator_id", "individually") | {
        "then_rewrite": "then_rewrite" in values
    }


def _filled(values: dict[str, str], *names: str) -> dict[str, str]:
    return {name: values[name] for name in names if values.get(name, "").strip()}


def _here(study: Study, values: dict[str, str]) -> Here | None:
    """The latent that is meant, and the list it was opened from. One field carries the list: its
    own would narrow what is meant."""
    latent = values.get("latent", "")
    if not latent.isdecimal() or len(latent) > 10:
        return None
    within = dict(parse_qsl(values.get("within", "").removeprefix("?")))
    return here(study, int(latent), within)


def _narrowed(values: dict[str, str]) -> str:
    """The filter in words. Empty without one, or where it is not valid."""
    try:
        return LatentMatch.model_validate(_filled(values, *LatentMatch.model_fields)).in_words()
    except ValidationError:
        return ""


def _page(
    request: Request,
    session: Session,
    study: Study,
    values: dict[str, str],
    task: str,
    estimate: EstimateOut | None,
    errors: dict[str, str],
    status: int,
) -> HTMLResponse:
    llm = queries.last_llm(session)
    context = {
        "study": study,
        "latents": count_latents(session, study),
        "values": {**llm, **values},
        "filter": _filled(values, *LatentMatch.model_fields),
        "narrowed": _narrowed(values),
        "here": _here(study, values),
        "task": task,
        "estimate": estimate,
        "errors": errors,
        "explainers": EXPLAINERS,
        "asking": asking(),
        "backends": BACK_ENDS,
        "servers": servers(),
        "simulators": study_simulators(session, study),
        "authors": authors(session, study),
        "individually": queries.MEASURED_ALONE,
        "labels": LABELS,
    }
    return render(request, "pages/work.html", context, status)
