"""The jobs pages."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.database import Database
from app.jobs import queries
from app.jobs.api import JobId
from app.studies.queries import Slug, get_study
from app.templates import render
from models import Study

router = APIRouter()

PAGE = 50
Next = Annotated[str, Form(alias="next", max_length=500, pattern=r"^/(jobs|studies)[\w/?=&-]*$")]
"""Page of this site to go back to."""


@router.get("/jobs")
def all_jobs(
    request: Request, session: Database, page: Annotated[int, Query(ge=1, le=10**6)] = 1
) -> HTMLResponse:
    """Jobs of all studies."""
    return _jobs(request, session, None, page)


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


def _jobs(request: Request, session: Database, study: Study | None, page: int) -> HTMLResponse:
    rows, total = queries.list_jobs(session, study, limit=PAGE, offset=(page - 1) * PAGE)
    return render(
        request,
        "jobs.html",
        {"study": study, "rows": rows, "total": total, "page": page, "page_size": PAGE},
    )
