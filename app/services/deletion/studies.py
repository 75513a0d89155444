"""Delete a study, and count the rows and files that go with it."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app.services.studies.schemas import Hanging
from jobs.log import note
from jobs.queue import send_removal
from jobs.status import ACTIVE
from models import (
    Comment,
    Explanation,
    Generation,
    Job,
    Latent,
    LatentList,
    Rewrite,
    Sentence,
    Simulation,
    Study,
)
from models.settings import get_settings

log = logging.getLogger(__name__)


def hanging(session: Session, study: Study) -> Hanging:
    """Count the rows and files that go with a study."""

    def count(query: Select[Any]) -> int:
        return session.scalar(query) or 0

    def own(table: Any) -> Select[Any]:
        return select(func.count()).select_from(table).where(table.study_id == study.id)

    def of_latents(table: Any) -> Select[Any]:
        """Counts rows that refer to explanations of the study, or are these."""
        query = select(func.count()).select_from(table)
        if table is not Explanation:
            query = query.join(Explanation, Explanation.id == table.explanation_id)
        joined = query.join(Latent, Latent.id == Explanation.latent_id)
        return joined.where(Latent.study_id == study.id)

    by_people = of_latents(Explanation).where(Explanation.author_kind == "person")
    people = by_people.with_only_columns(Explanation.author).distinct()
    sizes = list(_sizes(get_settings().study_files(study.id)))
    return Hanging(
        latents=count(own(Latent)),
        explanations=count(of_latents(Explanation)),
        written_by_people=count(by_people),
        people=sorted(session.scalars(people)),
        comments=count(of_latents(Comment)),
        simulations=count(of_latents(Simulation)),
        rewrites=count(own(Rewrite)),
        generations=count(own(Generation)),
        sentences=count(own(Sentence)),
        lists=count(own(LatentList)),
        jobs=count(own(Job)),
        active_jobs=count(own(Job).where(Job.status.in_(ACTIVE))),
        files=len(sizes),
        bytes=sum(sizes),
    )


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes of the files in a folder, but those that a worker removes meanwhile."""
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(where, name).stat().st_size


def delete_study(session: Session, study: Study) -> None:
    """Delete a study: hide it, free its slug, cancel its jobs. Commits the session.

    A worker then removes its rows and files, which may take minutes. Without a queue it does so
    when the next one starts.
    """
    # Another request may have been faster; then there is nothing left to do.
    marked = session.execute(
        update(Study)
        .where(Study.id == study.id, Study.deleted_at.is_(None))
        # No address can name this slug.
        .values(deleted_at=func.now(), slug=f"deleted/{study.id}")
    )
    if not marked.rowcount:  # type: ignore[attr-defined]
        session.rollback()
        return
    cancelled = session.scalars(
        update(Job)
        .where(Job.study_id == study.id, Job.status.in_(ACTIVE))
        .values(status="cancelled", finished_at=func.now())
        .returning(Job.id)
    ).all()
    for job_id in cancelled:
        note(session, job_id, "Cancelled, as its study was deleted.")
    session.commit()
    request_removal("study", study.id)


def request_removal(what: str, number: int) -> None:
    """Ask a worker to remove what hangs on what is deleted; without Redis it does so later."""
    try:
        send_removal(what, number)
    except (OperationalError, RedisError, RuntimeError) as error:
        log.error("the removal of %s %s waits for a worker to start: %s", what, number, error)


def being_deleted(session: Session) -> list[str]:
    """Titles of deleted studies of which a worker has still to remove rows and files."""
    query = select(Study.title).where(Study.deleted_at.is_not(None)).order_by(Study.id)
    return list(session.scalars(query))
