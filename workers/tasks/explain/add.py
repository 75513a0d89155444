"""Add explanations to the table."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import exists, insert, select, update
from sqlalchemy.orm import Session, aliased

from models import Explanation, Latent, Study
from workers.tasks.vectors import save, vectors_of

T = TypeVar("T")


def add(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert explanations, one a latent, and make them the current ones.

    A model's does not take the place of one that a person wrote. One alone gets its vector at once.
    Many wait for a job of their own, as the index of vectors takes longer than all the rest.

    Returns:
        Their ids, in the same order.
    """
    if not rows:
        return []
    ids = session.scalars(
        insert(Explanation).returning(Explanation.id, sort_by_parameter_order=True), rows
    ).all()
    current = aliased(Explanation)
    by_a_person = exists().where(
        current.id == Latent.explanation_id, current.author_kind == "person"
    )
    session.execute(
        update(Latent)
        .where(
            Latent.id == Explanation.latent_id,
            Explanation.id.in_(ids),
            ~by_a_person | (Explanation.author_kind == "person"),
        )
        .values(explanation_id=Explanation.id, embedding=None)
        .execution_options(synchronize_session=False)
    )
    if len(rows) == 1 and (vectors := vectors_of([rows[0]["text"]])):
        save(session, ids, vectors)
    return list(ids)


def rounds(items: Iterable[T], latent: Callable[[T], int]) -> Iterator[list[T]]:
    """Blocks in which no latent comes twice: each version is written upon the one before it."""
    found: dict[int, list[T]] = {}
    seen: Counter[int] = Counter()
    for one in items:
        found.setdefault(seen[latent(one)], []).append(one)
        seen[latent(one)] += 1
    yield from found.values()


def latents_of(
    session: Session, study: Study, indices: Sequence[int]
) -> dict[int, tuple[int, int | None]]:
    """By index, the id of each latent and of its current explanation."""
    rows = session.execute(
        select(Latent.index, Latent.id, Latent.explanation_id).where(
            Latent.study_id == study.id, Latent.index.in_(indices)
        )
    )
    return {index: (identity, current) for index, identity, current in rows}
