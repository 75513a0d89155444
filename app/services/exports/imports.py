"""Explanations of a file, or of another tool's results, into a study."""

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import IO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.exports.schemas import ResultsImport
from interp.cleaning import shown
from interp.errors import InputError
from interp.exchange.origin import StudyCoder
from interp.exchange.registry import ORIGINS
from interp.explain.files import read
from interp.sources.paths import full
from jobs.params import ExplainParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Job, Latent, Study
from models.folders import check_path
from models.settings import get_settings

LARGEST = 200 * 2**20
"""Bytes of a file of explanations, at most."""
NO_LATENTS = "Study {} has no latents yet: its activations are still to be collected."
KEPT = timedelta(days=1)
"""How long the file of an import that failed or was cancelled waits for a retry."""


def import_explanations(
    session: Session, study: Study, name: str, file: IO[bytes], user: str
) -> Job:
    """Queue the explanations of a file as new versions. Commits the session.

    The file is read whole before anything is queued, and kept in the data folder for the job.

    Args:
        name: Of the file; its ending says what kind it is.

    Raises:
        InputError: A line is no explanation, or is of a latent that the study does not have.
        Conflict: The study has no latents yet.
    """
    if file.seek(0, 2) > LARGEST:
        raise InputError(f"{shown(name)} is larger than {LARGEST // 2**20} MB: import it in parts.")
    file.seek(0)
    known = set(session.scalars(select(Latent.index).where(Latent.study_id == study.id)))
    if not known:
        raise Conflict(NO_LATENTS.format(study.slug))
    imports = get_settings().study_files(study.id) / "imports"
    _tidy(session)
    with _new_folder(imports) as folder:
        stem = re.sub(r"[^\w-]+", "-", PurePath(shown(name)).stem).strip("-")[:80]
        path = folder / f"{stem or 'explanations'}.jsonl"
        with path.open("w", encoding="utf-8") as out:
            for where, written in read(file, name, author=user):
                if written.latent not in known:
                    raise InputError(
                        f"{shown(name)}, {where}, is of latent {written.latent}, which the study "
                        f"has not: it has {len(known):,} (0 to {max(known):,})."
                    )
                out.write(written.model_dump_json() + "\n")
        return enqueue(session, study, ExplainParams(method="file", path=str(path)), by=user)


def import_results(session: Session, study: Study, data: ResultsImport, user: str) -> Job:
    """Queue the explanations of another tool's results as new versions. Commits the session.

    The results stay where they are. They are held against the coder before anything is queued, and
    the worker reads them.

    Raises:
        InputError: They are no such results, or of another coder.
        Conflict: The study has no latents yet.
    """
    most = session.scalar(select(func.max(Latent.index)).where(Latent.study_id == study.id))
    if most is None:
        raise Conflict(NO_LATENTS.format(study.slug))
    path = full(data.path)
    coder = StudyCoder(study.model, study.hookpoint, most + 1)
    ORIGINS[data.format].open(path, coder, anyway=data.anyway, may_read=check_path)
    asked = {"method": data.format, "path": str(path)} | ({"anyway": True} if data.anyway else {})
    return enqueue(session, study, ExplainParams.model_validate(asked), by=user)


@contextmanager
def _new_folder(imports: Path) -> Iterator[Path]:
    """A folder for one file; it goes again if the import is refused or fails."""
    folder = imports / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _tidy(session: Session) -> None:
    """Remove the files of imports that have ended: at once if finished, or after a day.

    A job names its file, so one that no job names is of an import that was killed on its way.
    """
    path = Job.params["path"].astext
    query = select(path, Job.status, Job.finished_at).where(
        Job.kind == "explain", path.is_not(None)
    )
    jobs = {Path(where).parent: (status, ended) for where, status, ended in session.execute(query)}
    long_ago = datetime.now(UTC) - KEPT
    for folder in get_settings().data.glob("studies/*/imports/*"):
        try:
            made = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        except FileNotFoundError:  # another import has removed it
            continue
        status, ended = jobs.get(folder, ("unknown", made))
        if status not in ACTIVE and (status == "finished" or (ended or made) < long_ago):
            shutil.rmtree(folder, ignore_errors=True)
