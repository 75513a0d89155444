"""The page on which a study is taken away, and explanations are brought in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.exports import imports, queries, takeback
from app.services.exports.schemas import PARTS, ExportQuery, ResultsImport
from app.services.exports.tables import TABLES
from app.services.jobs.queries import get_job
from app.services.latents.filter_schemas import LatentMatch
from app.services.latents.filters import matched
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import form_fields
from app.web.guard.people import CurrentUser
from app.web.jobs.api import JobId
from app.web.params import Slug
from app.web.roles import needs
from app.web.templates import render
from app.web.urls import url
from interp.errors import InputError
from interp.exchange.registry import ORIGINS
from interp.explain.files import ENDINGS
from interp.vocabulary import Role
from models import Study

router = APIRouter()

FORMATS = {
    "parquet": "smallest; pandas, Polars, DuckDB",
    "jsonl": "a JSON object on each line",
    "csv": "lists as JSON text in their fields",
    "delphi": "without parts: current explanations, activations, simulations",
    "neuronpedia": "without parts: features, activations, current explanations",
}
LARGE = ("simulations",)
"""Parts that are not ticked at first."""


@router.get("/studies/{slug}/export")
def export_page(
    request: Request, slug: Slug, wanted: Annotated[ExportQuery, Query()], session: Database
) -> HTMLResponse:
    """The forms. A filter in the address narrows what is exported."""
    study = get_study(session, slug)
    return _page(request, session, study, wanted, "parts" in request.query_params)


@router.post("/studies/{slug}/import")
def import_explanations(
    request: Request, slug: Slug, file: UploadFile, session: Database, user: CurrentUser
) -> Response:
    """The button that imports: queue the job, or show what is wrong with the file."""
    study = get_study(session, slug)
    if not file.filename:
        return _page(request, session, study, ExportQuery(), False, "Choose a file first.", 422)
    try:
        job = imports.import_explanations(session, study, file.filename, file.file, user)
    except InputError as error:
        return _page(request, session, study, ExportQuery(), False, str(error), 422)
    except Conflict as error:
        return _page(request, session, study, ExportQuery(), False, str(error), 409)
    return RedirectResponse(url("job", job.id), 303)


@router.post("/studies/{slug}/import/results")
def import_results(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """The button that imports another tool's results: queue the job, or show what is wrong."""
    study = get_study(session, slug)
    try:
        data = ResultsImport.model_validate(values)
        job = imports.import_results(session, study, data, user)
    except ValidationError as error:
        status, said = 422, " ".join(messages(error).values())
    except InputError as error:
        status, said = 422, str(error)
    except Conflict as error:
        status, said = 409, str(error)
    else:
        return RedirectResponse(url("job", job.id), 303)
    return _page(
        request, session, study, ExportQuery(), False, status=status, results=(values, said)
    )


@router.get("/jobs/{job_id}/takeback")
@needs(Role.EDITOR)
def confirm_take_back(request: Request, job_id: JobId, session: Database) -> HTMLResponse:
    """The page of the explanations that an import has added, with the button that takes it back."""
    job = get_job(session, job_id)
    study = session.get_one(Study, job.study_id)
    context = {"study": study, "job": job, "hanging": takeback.hanging(session, study, job)}
    return render(request, "pages/takeback.html", context)


@router.post("/jobs/{job_id}/takeback")
def take_back(job_id: JobId, session: Database) -> RedirectResponse:
    """The button “Take the import back”."""
    job = get_job(session, job_id)
    takeback.take_back(session, session.get_one(Study, job.study_id), job)
    return RedirectResponse(url("job", job_id), 303)


def _page(
    request: Request,
    session: Session,
    study: Study,
    wanted: ExportQuery,
    chosen: bool,
    error: str = "",
    status: int = 200,
    results: tuple[dict[str, str], str] = ({}, ""),
) -> HTMLResponse:
    """The page.

    Args:
        error: What is wrong with a file that was sent.
        results: What was sent to import results of another tool, and what is wrong with it.
    """
    match = LatentMatch.model_validate(wanted.model_dump())
    total, more, *_ = matched(session, study, match)
    context = {
        "study": study,
        "tables": TABLES,
        "ticked": wanted.parts if chosen else [name for name in PARTS if name not in LARGE],
        "formats": FORMATS,
        "format": wanted.format,
        "filter": match.filter(),
        "narrowed": match.in_words(),
        "total": total,
        "more": more,
        "amounts": queries.amounts(session, study),
        "endings": ENDINGS,
        "error": error,
        "origins": ORIGINS,
        "results": results[0],
        "results_error": results[1],
    }
    return render(request, "pages/exports.html", context, status)
