"""The explanations of a simulate job, and its simulator."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from interp.errors import InputError
from models import Explanation, Latent, Simulator, Study
from models.base import among

MIN_RATE = 0.01
"""The first latents are chosen among those that fire on at least this share of tokens: a rarer one
is active on so few tokens of the calibrate and evaluate sets that little could be said about it."""


def check(session: Session, ids: Sequence[int]) -> None:
    """See that explanations are there.

    Raises:
        InputError: One is not.
    """
    found = set(session.scalars(select(Explanation.id).where(among(Explanation.id, ids))))
    if unknown := [number for number in ids if number not in found]:
        raise InputError(f"There is no explanation {unknown[0]}.")


def first(session: Session, study: Study, count: int) -> list[int]:
    """The current explanations of the first latents.

    First come the latents that words predict best and that fire on enough tokens. Before any
    simulation, the best guess at that comes from the lexical explanation. It is the F1 of its
    coverage and its precision.

    Raises:
        InputError: There is none.
    """
    lexical = aliased(Explanation)
    coverage = lexical.details["coverage"].as_float()
    precision = lexical.details["precision"].as_float()
    f1 = func.max(2 * coverage * precision / func.nullif(coverage + precision, 0))
    best = (
        select(Explanation.id)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .outerjoin(lexical, (lexical.latent_id == Latent.id) & (lexical.author == "lexical"))
        .where(Latent.study_id == study.id)
        .group_by(Explanation.id, Latent.id)
        .order_by((Latent.firing_rate >= MIN_RATE).desc(), f1.desc().nulls_last(), Latent.index)
        .limit(count)
    )
    ids = list(session.scalars(best))
    if not ids:
        raise InputError("There is no explanation to simulate. Run the explain job first.")
    return ids


def arranged(session: Session, ids: Sequence[int], first: int) -> list[int]:
    """Explanations in the order in which a simulator reads many at once fastest: by length, so that
    those of one block are about as long.

    Args:
        first: So many come before all others, as they are measured early.
    """
    rows = session.execute(
        select(Explanation.id, func.char_length(Explanation.text)).where(among(Explanation.id, ids))
    )
    lengths = {number: length for number, length in rows}
    groups = ids[:first], ids[first:]
    return [number for group in groups for number in sorted(group, key=lambda i: lengths[i])]


def simulator(session: Session, number: int | None) -> Simulator:
    """The simulator of a number.

    Raises:
        InputError: There is none.
    """
    found = None if number is None else session.get(Simulator, number)
    if found is None:
        raise InputError("This study has no simulator yet. Run its collect job first.")
    return found
