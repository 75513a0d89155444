"""Jobs as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.services.jobs import queries
from app.services.jobs.schemas import FailedPartOut, JobEventOut, JobList, JobLog, JobOut, JobReport
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.params import Slug
from jobs.kinds import kind_of
from jobs.progress import no_worker, seconds_left
from models import Job, Study

router = APIRouter(tags=["jobs"])

PARTS = 100
"""Failed parts of a job that are listed."""

JobId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a job.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Most rows to return.")]
Offset = Annotated[int, Query(ge=0, lt=2**31, description="Rows to skip first.")]


@router.get("/jobs", summary="List jobs of all studies")
def list_all_jobs(session: Database, limit: Limit = 50, offset: Offset = 0) -> JobList:
    """Jobs of all studies, newest first."""
    return _page(queries.list_jobs(session, limit=limit, offset=offset))


@router.get("/studies/{slug}/jobs", summary="List jobs of a study")
def list_jobs(slug: Slug, session: Database, limit: Limit = 50, offset: Offset = 0) -> JobList:
    """Jobs of one study, newest first."""
    study = get_study(session, slug)
    return _page(queries.list_jobs(session, study, limit=limit, offset=offset))


@router.get("/jobs/{job_id}", summary="Get a job")
def get_job(job_id: JobId, session: Database) -> JobReport:
    """One job."""
    return _report(queries.job_row(session, queries.get_job(session, job_id)))


@router.get("/jobs/{job_id}/log", summary="Get the log of a job")
def get_log(job_id: JobId, session: Database) -> JobLog:
    """The log of a job, line by line, and its failed parts, with reasons."""
    job = queries.get_job(session, job_id)
    study = session.get_one(Study, job.study_id)
    parts, total = queries.failed_parts(session, job, study, limit=PARTS)
    return JobLog(
        lines=[JobEventOut.model_validate(line) for line in queries.list_events(session, job)],
        failed_parts=[FailedPartOut.model_validate(part) for part in parts],
        failed_parts_total=total,
    )


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", response_model=JobOut)
def cancel_job(job_id: JobId, session: Database) -> Job:
    """Stop a job that waits or runs. Its finished units stay."""
    return queries.cancel_job(session, queries.get_job(session, job_id))


@router.post("/jobs/{job_id}/retry", summary="Retry a job", response_model=JobOut)
def retry_job(job_id: JobId, session: Database) -> Job:
    """Queue a failed or cancelled job again. Its finished units are not repeated."""
    return queries.retry_job(session, queries.get_job(session, job_id))


def _page(rows: tuple[list[queries.JobRow], int]) -> JobList:
    return JobList(total=rows[1], items=[_report(row) for row in rows[0]])


def _report(row: queries.JobRow) -> JobReport:
    return JobReport(
        **JobOut.model_validate(row.job).model_dump(),
        missing_share=row.missing.share if row.missing else None,
        failures=row.missing.reasons if row.missing else {},
        seconds_left=None if no_worker(row.job) else seconds_left(row.job),
        no_worker=bool(no_worker(row.job)),
        jobs_before=row.before,
        ahead=[kind_of(params).name for params in row.ahead],
    )
