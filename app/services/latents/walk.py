"""From place to place in the list of latents: by a column, or nearest in meaning.

A page begins where the last one ended: a place in an index, not a number of rows to skip. So the
thousandth page takes as long as the first.
"""

from typing import Any, NamedTuple

from sqlalchemy import REAL, BigInteger, ColumnElement, cast, exists, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.services.latents import meaning
from app.services.latents.filter_schemas import NEAREST, LatentFilter
from app.services.latents.filters import NAN, Matched, estimate_of, loss_effect_of, real
from app.services.rows import read
from models import EstimatedEffect, Latent, LossEffect, Score, Study

SCORES = ("correlation", "sensitivity", "specificity", "explained_variance")
FIGURES = frozenset((*SCORES, "loss_effect", "estimated_effect"))
"""What the list says of the current explanation of a latent, besides its text and its author."""


class Place(NamedTuple):
    """Where in the list a latent stands."""

    value: float | None
    """What the list is sorted by; None if it is missing, and in a list by index."""
    tie: int
    """Tells latents of one value apart: an index, or the id of an explanation."""
    many: bool = False
    """Whether the list was found to have more than are counted, which is not found out again."""

    def __str__(self) -> str:
        value = "" if self.value is None else repr(self.value)
        return f"{value}~{self.tie}{'~many' if self.many else ''}"

    @classmethod
    def parse(cls, cursor: str) -> "Place | None":
        if not cursor:
            return None
        value, tie, *many = cursor.split("~")
        return cls(real(float(value)) if value else None, int(tie), bool(many))


class Placed(NamedTuple):
    """A latent and its place."""

    latent_id: int
    latent: int
    """Its index."""
    place: Place


def walk(
    session: Session,
    study: Study,
    wanted: LatentFilter,
    latents: Matched,
    place: Place | None,
    *,
    backwards: bool,
    limit: int,
) -> list[Placed]:
    """The latents behind a place, or those before it with the nearest first.

    The list has two stretches: latents with a value, then those without one, by their index.
    """
    down = (wanted.order == "desc") != backwards
    if wanted.sort == "index" and latents.known is not None:
        return _of_known(latents.known, place, down=down, limit=limit)
    if wanted.sort == "index":
        return _by_index(session, latents.conditions, place, down=down, limit=limit)
    some_lack_it = wanted.sort in FIGURES
    found: list[Placed] = []
    in_missing = place is not None and place.value is None
    if backwards and in_missing and some_lack_it:
        without = [*latents.conditions, _without(study, wanted.sort)]
        found = _by_index(session, without, place, down=True, limit=limit)
        place = None
    if len(found) < limit and (backwards or not in_missing):
        left = limit - len(found)
        column = _column(study, wanted.sort)
        found += _by_value(session, column, latents.conditions, place, down=down, limit=left)
        place = None
    if len(found) < limit and some_lack_it and not backwards:
        left = limit - len(found)
        without = [*latents.conditions, _without(study, wanted.sort)]
        found += _by_index(session, without, place, down=False, limit=left)
    return found


def _of_known(
    known: dict[int, int], place: Place | None, *, down: bool, limit: int
) -> list[Placed]:
    numbers = sorted(known, reverse=down)
    if place is not None:
        numbers = [n for n in numbers if (n < place.tie if down else n > place.tie)]
    return [Placed(known[n], n, Place(None, n)) for n in numbers[:limit]]


def _by_index(
    session: Session,
    conditions: list[ColumnElement[bool]],
    place: Place | None,
    *,
    down: bool,
    limit: int,
) -> list[Placed]:
    query = select(Latent.id, Latent.index.label("number")).where(*conditions)
    if place is not None:
        tie = cast(place.tie, BigInteger)
        query = query.where(Latent.index < tie if down else Latent.index > tie)
    query = query.order_by(Latent.index.desc() if down else Latent.index).limit(limit)
    return [Placed(row.id, row.number, Place(None, row.number)) for row in read(session, query)]


def _by_value(
    session: Session,
    column: tuple[Any, Any, list[ColumnElement[bool]]],
    conditions: list[ColumnElement[bool]],
    place: Place | None,
    *,
    down: bool,
    limit: int,
) -> list[Placed]:
    value, tie, joined = column
    number = Latent.index.label("number")
    query = select(Latent.id, number, value.label("value"), tie.label("tie"))
    query = query.where(*conditions, *joined)
    known = [value < NAN]
    if place is not None and place.value is not None:
        key = tuple_(value, tie)
        there = tuple_(cast(place.value, REAL), cast(place.tie, BigInteger))
        # What is before a place is known; saying so, the index would be read from its end.
        known = [key < there] if down else [key > there, *known]
    query = query.where(*known)
    order = (value.desc(), tie.desc()) if down else (value, tie)
    query = query.order_by(*order).limit(limit)
    return [Placed(row.id, row.number, Place(row.value, row.tie)) for row in read(session, query)]


def _column(study: Study, sort: str) -> tuple[Any, Any, list[ColumnElement[bool]]]:
    """The value that the list is sorted by, what tells equal ones apart, and what joins both to
    the latent. All are of one index, in this order."""
    if sort == "loss_effect":
        mine = LossEffect.explanation_id == Latent.explanation_id
        return LossEffect.mean, LossEffect.explanation_id, [mine, *loss_effect_of(study)]
    if sort == "estimated_effect":
        mine = EstimatedEffect.explanation_id == Latent.explanation_id
        value = EstimatedEffect.mean
        return value, EstimatedEffect.explanation_id, [mine, *estimate_of(study)]
    if sort in SCORES:
        mine = Score.explanation_id == Latent.explanation_id
        of = Score.simulator_id == study.simulator_id
        return Score.value, Score.explanation_id, [mine, of, Score.name == sort]
    return getattr(Latent, sort), Latent.index, []


def _without(study: Study, figure: str) -> ColumnElement[bool]:
    """That a latent has no value of a figure."""
    if figure == "loss_effect":
        effect = aliased(LossEffect)
        mine = effect.explanation_id == Latent.explanation_id
        return ~exists().where(mine, *loss_effect_of(study, effect), effect.mean < NAN)
    if figure == "estimated_effect":
        estimate = aliased(EstimatedEffect)
        mine = estimate.explanation_id == Latent.explanation_id
        return ~exists().where(mine, *estimate_of(study, estimate), estimate.mean < NAN)
    score = aliased(Score)
    return ~exists().where(
        score.explanation_id == Latent.explanation_id,
        score.simulator_id == study.simulator_id,
        score.name == figure,
        score.value < NAN,
    )


def nearest(
    session: Session, wanted: LatentFilter, latents: Matched, *, limit: int = NEAREST
) -> list[Placed]:
    """The latents nearest in meaning, by their distance.

    Where few match, all of them are compared; else the index is asked, which goes on until enough
    of what it finds match.
    """
    distance: Any = Latent.embedding.cosine_distance(meaning.embed_query(wanted.meaning))
    query = (
        select(Latent.id, Latent.index.label("number"), distance.label("distance"))
        .where(*latents.conditions, Latent.embedding.is_not(None))
        # Adding 0 makes it another expression than the index has.
        .order_by(distance + 0.0 if latents.known is not None else distance)
        .limit(limit)
    )
    # A text without a known word has no direction, and no distance from anything.
    found = [row for row in read(session, query) if row.distance == row.distance]
    return [Placed(row.id, row.number, Place(row.distance, rank)) for rank, row in enumerate(found)]


def place_of(session: Session, study: Study, wanted: LatentFilter, latent: Latent) -> Place:
    """Where a latent stands, or would stand, in a list by a column."""
    if wanted.sort == "index":
        return Place(None, latent.index)
    value, tie, conditions = _column(study, wanted.sort)
    query = select(value.label("value"), tie.label("tie")).where(
        Latent.id == latent.id, *conditions, value < NAN
    )
    row = read(session, query).first()
    return Place(row.value, row.tie) if row is not None else Place(None, latent.index)
