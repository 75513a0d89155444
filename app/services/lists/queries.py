"""Lists of latents in the database. A latent with a star is one on the list ``starred``."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.latents.filter_schemas import STARRED, by_name
from app.services.latents.filters import matching
from app.services.lists.schemas import ListAdd
from app.services.work.schemas import Selection
from models import Latent, LatentList, LatentListItem, Study
from models.base import among


class Listed(NamedTuple):
    """A list, and how many latents are on it."""

    list: LatentList
    latents: int


def list_lists(session: Session, study: Study) -> list[Listed]:
    """The lists of a study by name; the starred ones first."""
    number = (
        select(func.count())
        .select_from(LatentListItem)
        .where(LatentListItem.list_id == LatentList.id)
        .scalar_subquery()
    )
    query = select(LatentList, number).where(LatentList.study_id == study.id)
    found = {row[0].name: Listed(*row) for row in session.execute(query)}
    return [found[name] for name in by_name(found)]


NAMES = select(LatentList.name).where(LatentList.study_id == bindparam("study"))
"""Names of the lists of a study, which is named when it is asked."""


def get_named(session: Session, study: Study, name: str) -> LatentList | None:
    """The list of this name; None if there is none."""
    return session.scalar(select(LatentList).filter_by(study_id=study.id, name=name))


def get_list(session: Session, list_id: int) -> Listed:
    """One list.

    Raises:
        NotFound: There is none of this number.
    """
    found = session.get(LatentList, list_id)
    if found is None:
        raise NotFound(f"There is no list {list_id}.")
    return _listed(session, found)


def study_of(session: Session, listed: Listed) -> Study:
    """The study of a list."""
    return session.get_one(Study, listed.list.study_id)


def add(session: Session, study: Study, data: ListAdd, user: str) -> tuple[Listed, int]:
    """Put latents on a list, which is made if there is none of the name. Commits the session.

    Returns:
        The list, and how many were not on it before.

    Raises:
        NotFound: A latent that is named is not there.
        Conflict: No latent is meant.
    """
    _all_there(session, study, data)
    made = insert(LatentList).values(study_id=study.id, name=data.name, created_by=user)
    session.execute(made.on_conflict_do_nothing())
    found = session.scalars(
        # Locked, so that it is not deleted meanwhile.
        select(LatentList).filter_by(study_id=study.id, name=data.name).with_for_update()
    ).one()
    before = _listed(session, found).latents
    meant = select(literal(found.id), Latent.id, literal(user)).where(*_meant(study, data))
    columns = [LatentListItem.list_id, LatentListItem.latent_id, LatentListItem.created_by]
    added = insert(LatentListItem).from_select(columns, meant).on_conflict_do_nothing()
    session.execute(added)
    listed = _listed(session, found)
    if not listed.latents:
        session.rollback()
        raise Conflict("No latent matches, so there is nothing to put on a list.")
    session.commit()
    return listed, listed.latents - before


def remove(session: Session, listed: Listed, data: Selection) -> tuple[Listed, int]:
    """Take latents off a list; it stays, even if it is empty then. Commits the session.

    Returns:
        The list, and how many were on it.
    """
    study = session.get_one(Study, listed.list.study_id)
    meant = select(Latent.id).where(*_meant(study, data))
    removed = session.execute(
        delete(LatentListItem)
        .where(LatentListItem.list_id == listed.list.id, LatentListItem.latent_id.in_(meant))
        .execution_options(synchronize_session=False)
    )
    session.commit()
    return _listed(session, listed.list), removed.rowcount  # type: ignore[attr-defined]


def delete_list(session: Session, listed: Listed) -> None:
    """Delete a list; the latents on it stay. Commits the session."""
    session.delete(listed.list)
    session.commit()


def star(session: Session, study: Study, index: int, on: bool, user: str) -> None:
    """Give a latent a star, or take it away. Commits the session.

    Raises:
        NotFound: There is no such latent.
    """
    if on:
        add(session, study, ListAdd(name=STARRED, latents=[index]), user)
        return
    one = Selection(latents=[index])
    _all_there(session, study, one)
    found = session.scalar(select(LatentList).filter_by(study_id=study.id, name=STARRED))
    if found is not None:
        remove(session, Listed(found, 0), one)


def _listed(session: Session, found: LatentList) -> Listed:
    number = select(func.count()).where(LatentListItem.list_id == found.id)
    return Listed(found, session.scalar(number) or 0)


def _meant(study: Study, data: Selection) -> list[ColumnElement[bool]]:
    named = [] if data.latents is None else [among(Latent.index, data.latents)]
    return [*matching(study, data), *named]


def _all_there(session: Session, study: Study, data: Selection) -> None:
    wanted = set(data.latents or ())
    query = select(Latent.index).where(Latent.study_id == study.id, among(Latent.index, wanted))
    missing = wanted - set(session.scalars(query))
    if missing:
        raise NotFound(f"There is no latent {min(missing)} in study {study.slug}.")
