"""Add explanations to the table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import exists, insert, update
from sqlalchemy.orm import Session, aliased

from models import Explanation, Latent
from workers.tasks.vectors import save, vectors_of


def add(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert explanations, one a latent, and make them the current ones.

    A model's does not take the place of one that a person wrote.

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
    vectors = vectors_of([row["text"] for row in rows])
    if vectors is not None:
        save(session, ids, vectors)
    return list(ids)
