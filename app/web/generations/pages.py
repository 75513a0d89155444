"""The page to generate with the rewritten model, and the page of one generation."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.generations import queries
from app.services.generations.schemas import MAX_LATENTS, MAX_PROMPT, GenerationCreate
from app.services.jobs.queries import delete_own
from app.services.latents.queries import simulated_explanations
from app.services.simulators.independence import StudySimulator, assess, study_simulator
from app.services.simulators.queries import get_simulator
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import form_fields
from app.web.generations.api import GenerationId
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url
from interp.vocabulary import CalibrationMethod
from jobs.status import ACTIVE, STOPPED
from models import Job, Study

router = APIRouter()

RECENT = 10
"""Generations that the form's page lists."""
CHOICES = (1, 4, 8, 16, MAX_LATENTS)
CONDITIONS = {
    "untouched": ("Untouched", "The model as it is."),
    "zero": ("Zero-ablated", "The module that the coder stands in for puts out zero."),
    "rewritten": (
        "Rewritten",
        "The latents below have the values that their explanations predict.",
    ),
}


@router.get("/studies/{slug}/generate")
def generate_form(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The form. Fields in the address are put into it, so that the estimate can follow them."""
    fields = {k: v for k, v in request.query_params.items() if k in GenerationCreate.model_fields}
    return _form(request, session, get_study(session, slug), fields, {})


@router.post("/studies/{slug}/generate")
def generate(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """The button “Generate”: go to the new generation, or show the form with what was wrong."""
    study = get_study(session, slug)
    filled = {name: value for name, value in values.items() if value.strip() or name == "prompt"}
    try:
        data = GenerationCreate.model_validate(filled)
        generation = queries.create_generation(session, study, data, user)
    except ValidationError as error:
        return _form(request, session, study, values, messages(error), 422)
    except Conflict as error:
        return _form(request, session, study, values, {"latents": str(error)}, 409)
    return RedirectResponse(url("generation", slug, generation.id), 303)


@router.get("/studies/{slug}/generations/{generation_id}")
def show_generation(
    request: Request, slug: Slug, generation_id: GenerationId, session: Database
) -> HTMLResponse:
    """One generation: what was written so far, side by side."""
    study = get_study(session, slug)
    generation = queries.get_generation(session, study, generation_id)
    job = session.get(Job, generation.job_id) if generation.job_id else None
    simulator = get_simulator(session, generation.simulator_id)
    context = {
        "study": study,
        "simulator": StudySimulator(simulator, assess(session, study, simulator)),
        "generation": generation,
        "conditions": CONDITIONS,
        "rewritten": queries.list_rewritten(session, generation),
        "job": job if job and job.status in ACTIVE + STOPPED else None,
        "active": job is not None and job.status in ACTIVE,
    }
    return render(request, "pages/generation.html", context)


@router.post("/studies/{slug}/generations/{generation_id}/delete")
def delete(
    slug: Slug, generation_id: GenerationId, session: Database, user: CurrentUser
) -> RedirectResponse:
    """The button “Delete”."""
    study = get_study(session, slug)
    delete_own(session, queries.get_generation(session, study, generation_id), user)
    return RedirectResponse(url("generate", slug), 303)


def _form(
    request: Request,
    session: Session,
    study: Study,
    values: dict[str, str],
    errors: dict[str, str],
    status: int = 200,
) -> HTMLResponse:
    available = len(simulated_explanations(session, study))
    choices = [number for number in CHOICES if number <= available]
    if 0 < available < MAX_LATENTS and available not in choices:
        choices.append(available)
    fields = GenerationCreate.model_fields
    shown: dict[str, Any] = {
        name: field.default for name, field in fields.items() if not field.is_required()
    }
    shown["latents"] = max((n for n in choices if n <= shown["latents"]), default=0)
    shown |= values
    per_context = queries.seconds_per_context(session, study)
    latents, new_tokens = (_whole(shown[name]) for name in ("latents", "new_tokens"))
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "fields": fields,
        "values": shown,
        "errors": errors,
        "available": available,
        "choices": choices,
        "calibrations": list(CalibrationMethod),
        "max_prompt": MAX_PROMPT,
        "per_context": per_context,
        "estimate": queries.estimate(per_context, latents, new_tokens)
        if per_context is not None and latents and new_tokens
        else None,
        "recent": queries.list_generations(session, study, limit=RECENT),
    }
    return render(request, "pages/generate.html", context, status)


def _whole(value: object) -> int:
    """A number of the form, or 0 for any other text, and for a number above 999."""
    text = str(value).strip()
    return int(text) if text.isdecimal() and len(text) < 4 else 0
