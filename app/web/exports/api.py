"""A study to take away, and explanations to bring in."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, UploadFile
from fastapi.responses import StreamingResponse

from app.services.exports import imports, queries, takeback
from app.services.exports.schemas import ExportQuery, ImportHanging, ResultsImport
from app.services.jobs.queries import get_job
from app.services.jobs.schemas import JobOut
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.exports.download import Download
from app.web.guard.people import CurrentUser
from app.web.jobs.api import JobId
from app.web.params import Slug
from app.web.roles import needs
from interp.vocabulary import Role
from models import Job, Study

router = APIRouter(tags=["exports"])

ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "The tables and study.json."}
}


@router.get(
    "/studies/{slug}/export",
    summary="Export a study",
    response_class=StreamingResponse,
    responses=ZIP,
)
@needs(Role.READER, "machine", "session", "token")
def export(
    slug: Slug, wanted: Annotated[ExportQuery, Query()], session: Database
) -> StreamingResponse:
    """A zip with one table for each part, and `study.json`: where they come from, and what their
    columns mean. Of all latents, or of those that match a filter. Missing values are null. With
    format delphi or neuronpedia: a zip in the layout of that tool, as docs/exchange.md says."""
    queries.check_download(get_study(session, slug), wanted)
    return Download(queries.download(slug, wanted), f"{slug}.zip")


@router.post(
    "/studies/{slug}/import",
    summary="Import explanations",
    status_code=201,
    response_model=JobOut,
)
def import_explanations(slug: Slug, file: UploadFile, session: Database, user: CurrentUser) -> Job:
    """Add the explanations of a file as new versions: .jsonl, .csv or .parquet with latent, text
    and, if they have them, author, author_kind and prompt_version. Those without an author are
    yours. The others keep the authors of the file, and their details name you as the importer. One
    bad line refuses the whole file."""
    study = get_study(session, slug)
    return imports.import_explanations(session, study, file.filename or "", file.file, user)


@router.post(
    "/studies/{slug}/import/results",
    summary="Import results of another tool",
    status_code=201,
    response_model=JobOut,
)
def import_results(slug: Slug, data: ResultsImport, session: Database, user: CurrentUser) -> Job:
    """Add the explanations in a folder of Delphi or Neuronpedia as new versions. Model, hookpoint
    and number of latents must be the study's. The job counts the items that it cannot take, with
    the reasons. The other tool's scores are kept in the details of an explanation."""
    return imports.import_results(session, get_study(session, slug), data, user)


@router.get("/jobs/{job_id}/import", summary="Preview taking an import back")
def get_import(job_id: JobId, session: Database) -> ImportHanging:
    """The explanations that an import has added, and those that taking it back would remove."""
    return takeback.hanging(session, *_import(session, job_id))


@router.delete("/jobs/{job_id}/import", summary="Take an import back")
def take_back(job_id: JobId, session: Database) -> ImportHanging:
    """Remove the explanations of an import that nobody built on, and the file that was kept. A
    latent whose current explanation goes has an earlier one again."""
    return takeback.take_back(session, *_import(session, job_id))


def _import(session: Database, job_id: int) -> tuple[Study, Job]:
    job = get_job(session, job_id)
    return session.get_one(Study, job.study_id), job
