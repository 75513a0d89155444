"""An import taken back: its explanations, unless somebody has built on them."""

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, not_, select, update
from sqlalchemy.orm import Session, aliased

from app.services.errors import Conflict
from app.services.exports.schemas import ImportHanging
from app.services.jobs.queries import need_ended
from jobs.events import publish as tell
from jobs.log import note
from models import (
    Comment,
    Explanation,
    Generation,
    Job,
    LanguageTest,
    Latent,
    Rewrite,
    Simulation,
    Study,
)
from models.base import among
from models.settings import get_settings


def hanging(session: Session, study: Study, job: Job) -> ImportHanging:
    """Count the explanations of an import, its free ones, and the rows that refer to these.

    Raises:
        Conflict: The job is no import.
    """
    return _hanging(session, *_explanations(session, study, job))


def _hanging(session: Session, all_: set[int], free: set[int]) -> ImportHanging:
    def count(table: Any) -> int:
        query = select(func.count()).select_from(table).where(among(table.explanation_id, free))
        return session.scalar(query) or 0

    return ImportHanging(
        explanations=len(all_),
        removable=len(free),
        comments=count(Comment),
        simulations=count(Simulation),
    )


def take_back(session: Session, study: Study, job: Job) -> ImportHanging:
    """Remove the explanations of an import that nobody built on, and its file. Commits the session.

    A latent whose current explanation goes has the one before it again.

    Raises:
        Conflict: The job is no import, or has not ended.
    """
    need_ended(session, job.id)
    all_, free = _explanations(session, study, job)
    found = _hanging(session, all_, free)
    if free:
        _fall_back(session, free)
        session.execute(
            delete(Explanation)
            .where(among(Explanation.id, free))
            .execution_options(synchronize_session=False)
        )
    note(session, job.id, f"Taken back: {len(free):,} of {found.explanations:,} explanations.")
    session.commit()
    _remove_file(study, job)
    tell(study.id, "latents", 0)
    return found


def _explanations(session: Session, study: Study, job: Job) -> tuple[set[int], set[int]]:
    """All explanations of an import, and its free ones. A free explanation has no later version of
    another origin, no rewrite, no generation and no language test."""
    if job.kind != "explain" or not job.params.get("path"):
        raise Conflict(f"Job {job.id} is no import.")
    query = select(Explanation.id, Explanation.parent_id).join(
        Latent, Latent.id == Explanation.latent_id
    )
    own = Latent.study_id == study.id
    # Compared as text: another explainer may write what it likes in its details.
    imported = query.where(own, Explanation.details["import"].astext == str(job.id))
    rows = {number: parent for number, parent in session.execute(imported)}
    kept: set[int] = set()
    for table in (Rewrite, Generation, LanguageTest):
        ids = select(func.unnest(table.explanation_ids)).where(table.study_id == study.id)
        kept |= rows.keys() & set(session.scalars(ids))
    others = query.where(own, among(Explanation.parent_id, rows), not_(among(Explanation.id, rows)))
    built_on = [parent for _, parent in session.execute(others)]
    built_on += [rows[number] for number in kept]
    # What stands on something that stays makes it stay.
    while built_on:
        number = built_on.pop()
        if number in rows and number not in kept:
            kept.add(number)
            built_on.append(rows[number])
    return set(rows), rows.keys() - kept


def _fall_back(session: Session, gone: set[int]) -> None:
    """Have latents whose current explanation goes show the newest of those that stay: a person's
    before a model's."""
    other = aliased(Explanation)
    before = (
        select(other.id)
        .where(other.latent_id == Latent.id, not_(among(other.id, gone)))
        .order_by((other.author_kind == "person").desc(), other.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    session.execute(
        update(Latent)
        .where(among(Latent.explanation_id, gone))
        .values(explanation_id=before, embedding=None)
        .execution_options(synchronize_session=False)
    )


def _remove_file(study: Study, job: Job) -> None:
    """Remove what was kept of the file; one that was read where it lay stays there."""
    folder = Path(job.params["path"]).parent
    if folder.parent == get_settings().study_files(study.id) / "imports":
        shutil.rmtree(folder, ignore_errors=True)
