"""The jobs pages."""

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.services.jobs import queries
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.jobs.api import JobId
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url
from jobs.log import LOG_LINES
from jobs.progress import asked, now
from models import Study

router = APIRouter()

PAGE = 50
PARTS = 20
"""Failed parts that the page of a job lists."""
LATENTS = 12
"""Latents that it links to."""
Next = Annotated[
    str, Form(alias="next", max_length=8000, pattern=r"^/(jobs|studies)[\w/?=&%.+~*-]*$")
]
"""Page of this site to go back to."""


async def jobs_in_head(request: Request, session: Database) -> None:
    """Give the head of every page the jobs that wait or run, of its study or of all.

    The page asks when it is written, on the thread that writes it. To get a thread for it would
    take longer than the answer.
    """
    slug = request.path_params.get("slug")
    request.state.jobs = cache(lambda: queries.active_jobs(session, slug))


@router.get("/jobs")
def all_jobs(
    request: Request, session: Database, page: Annotated[int, Query(ge=1, le=10**6)] = 1
) -> HTMLResponse:
    """Jobs of all studies."""
    return _jobs(request, session, None, page)


@router.get("/jobs/now")
def jobs_now(
    request: Request,
    session: Database,
    study: Annotated[str, Query(max_length=80, pattern=r"^[a-z0-9-]*$")] = "",
) -> HTMLResponse:
    """The part of every page's head that says what runs."""
    of = get_study(session, study) if study else None
    context = {"study": of, "now": now(queries.active_jobs(session, study or None))}
    return render(request, "layout/now.html", context)


@router.get("/jobs/{job_id}")
def job_page(request: Request, job_id: JobId, session: Database) -> HTMLResponse:
    """One job: how far it is, what it was asked for, what failed, and its log."""
    row = queries.job_row(session, queries.get_job(session, job_id))
    parts, failed = queries.failed_parts(session, row.job, row.study, limit=PARTS)
    latents, about = queries.job_latents(session, row.job, limit=LATENTS)
    context = {
        "study": row.study,
        "row": row,
        "result": result,
        "job": row.job,
        "asked": asked(row.job),
        "latents": latents,
        "about": about,
        "parts": parts,
        "failed": failed,
        "lines": queries.list_events(session, row.job),
        "max_lines": LOG_LINES,
    }
    return render(request, "pages/job.html", context)


@router.get("/studies/{slug}/jobs")
def study_jobs(
    request: Request,
    slug: Slug,
    session: Database,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> HTMLResponse:
    """Jobs of one study."""
    return _jobs(request, session, get_study(session, slug), page)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: JobId, session: Database, back: Next = "/jobs") -> RedirectResponse:
    """The Cancel button."""
    queries.cancel_job(session, queries.get_job(session, job_id))
    return RedirectResponse(back, 303)


@router.post("/jobs/{job_id}/retry")
def retry_job(job_id: JobId, session: Database, back: Next = "/jobs") -> RedirectResponse:
    """The Retry button."""
    queries.retry_job(session, queries.get_job(session, job_id))
    return RedirectResponse(back, 303)


def result(row: queries.JobRow) -> str | None:
    """The page that shows what a job makes, if there is one of its own."""
    slug, params = row.study.slug, row.job.params
    match row.job.kind:
        case "generate" if generation := params.get("generation_id"):
            return url("generation", slug, generation)
        case "sentence" if sentence := params.get("sentence_id"):
            return url("sentence", slug, sentence)
        case "check":
            return url("checks", slug)
        case "language":
            return url("language", slug)
        case "attribute":
            return url("study", slug) + "#edit-next"
        case "rewrite" if protocol := params.get("protocol"):
            return url("study", slug, protocol=protocol)
    return None


def _jobs(request: Request, session: Database, study: Study | None, page: int) -> HTMLResponse:
    rows, total = queries.list_jobs(
        session, study, limit=PAGE, offset=(page - 1) * PAGE, active_first=True
    )
    return render(
        request,
        "pages/jobs.html",
        {
            "study": study,
            "rows": rows,
            "result": result,
            "total": total,
            "page": page,
            "page_size": PAGE,
        },
    )
