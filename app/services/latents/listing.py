"""The list of latents, one page at a time: by a column, or nearest in meaning.

A page begins where the last one ended: a place in an index, not a number of rows to skip. So the
thousandth page takes as long as the first.
"""

import random
from collections.abc import Collection
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    any_,
    bindparam,
    cast,
    exists,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.services.latents import meaning
from app.services.latents.filter_schemas import NEAREST, STARRED, LatentFilter, Part
from app.services.latents.filters import NAN, Matched, cost_of, matched, matching, real
from app.services.rows import read
from models import Explanation, Latent, LatentCost, LatentList, LatentListItem, Score, Study

SCORES = ("correlation", "sensitivity", "specificity", "explained_variance")
FIGURES = frozenset((*SCORES, "cost"))
"""What the list says of the current explanation of a latent, besides its text and its author."""


class Place(NamedTuple):
    """The position of a latent in the list."""

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


class Found(NamedTuple):
    """One page of the list."""

    rows: list[dict[str, Any]]
    total: int
    more: bool
    """There are more than ``total``."""
    before: Place | None
    """Where the page before ends; None if this is the first."""
    after: Place | None
    """Where the next page begins; None if this is the last."""


def list_latents(
    session: Session,
    study: Study,
    wanted: Part,
    *,
    limit: int,
    figures: Collection[str] = FIGURES,
) -> Found:
    """One page of the list of latents.

    Args:
        figures: The scores to read, and ``cost``. Each takes its time to look up.

    Raises:
        Conflict: It is a search by meaning, and the model for that is not fetched.
    """
    place = Place.parse(wanted.before or wanted.after)
    found = matched(session, study, wanted, many=place is not None and place.many)
    total, more = found.total, found.more
    backwards = bool(wanted.before) and place is not None
    if wanted.meaning.strip():
        start = 0
        if place is not None:
            start = max(0, place.tie - limit) if backwards else place.tie
            limit = min(limit, place.tie) if backwards else limit
        # Of many, no more are looked for than this page shows.
        enough = NEAREST if found.known is not None else min(start + limit + 1, NEAREST)
        near = nearest(session, wanted, found, limit=enough)
        total, more = (len(near) if len(near) <= start + limit else min(total, NEAREST)), False
        part = near[start : start + limit]
        before = Place(None, start, found.more) if start else None
        after = Place(None, start + limit, found.more) if start + limit < len(near) else None
        nearness = {one.latent_id: 1 - (one.place.value or 0.0) for one in part}
        rows = _rows(session, study, part, figures, nearness)
        return Found(rows, total, more, before, after)
    part = walk(session, study, wanted, found, place, backwards=backwards, limit=limit + 1)
    beyond, part = len(part) > limit, part[:limit]
    if backwards:
        part.reverse()
    earlier, later = (beyond, True) if backwards else (place is not None, beyond)
    return Found(
        _rows(session, study, part, figures),
        total,
        more,
        part[0].place._replace(many=more) if earlier and part else None,
        part[-1].place._replace(many=more) if later and part else None,
    )


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
    if sort == "cost":
        mine = LatentCost.explanation_id == Latent.explanation_id
        return LatentCost.mean, LatentCost.explanation_id, [mine, *cost_of(study)]
    if sort in SCORES:
        mine = Score.explanation_id == Latent.explanation_id
        of = Score.simulator_id == study.simulator_id
        return Score.value, Score.explanation_id, [mine, of, Score.name == sort]
    return getattr(Latent, sort), Latent.index, []


def _without(study: Study, figure: str) -> ColumnElement[bool]:
    """That a latent has no value of a figure."""
    if figure == "cost":
        cost = aliased(LatentCost)
        mine = cost.explanation_id == Latent.explanation_id
        return ~exists().where(mine, *cost_of(study, cost), cost.mean < NAN)
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

    If few match, all of them are compared. Otherwise the index is asked, until enough of its
    results match.
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


@cache
def _rows_query(figures: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """Made once: putting it together takes as long as running it."""
    study: Any = SimpleNamespace(id=bindparam("study"), simulator_id=bindparam("simulator"))
    scores = [name for name in SCORES if name in figures]
    starred = select(LatentList.id).where(
        LatentList.study_id == study.id, LatentList.name == STARRED
    )
    columns: list[Any] = [
        Latent.id,
        Latent.index,
        Latent.firing_rate,
        Latent.max_activation,
        Latent.mean_activation,
        Explanation.id.label("explanation_id"),
        Explanation.text.label("explanation"),
        Explanation.author,
        Explanation.imported_by.label("imported_by"),
        LatentListItem.latent_id.is_not(None).label("starred"),
    ]
    joins: list[tuple[Any, ...]] = [
        (Explanation, Explanation.id == Latent.explanation_id),
        (
            LatentListItem,
            LatentListItem.latent_id == Latent.id,
            LatentListItem.list_id == starred.scalar_subquery(),
        ),
    ]
    if "cost" in figures:
        columns.append(LatentCost.mean.label("cost"))
        mine = LatentCost.explanation_id == Latent.explanation_id
        joins.append((LatentCost, mine, *cost_of(study)))
    if scores:
        # All of them are beside each other in one index: one look there, and not one each.
        wanted = [_score(name, Score.value, name) for name in scores]
        if "correlation" in scores:
            wanted += [
                _score("correlation", Score.low, "correlation_low"),
                _score("correlation", Score.high, "correlation_high"),
            ]
        mine = Score.explanation_id == Latent.explanation_id
        of = select(*wanted).where(mine, Score.simulator_id == study.simulator_id).lateral("scores")
        columns += of.columns
        joins.append((of, true()))
    query = select(*columns).where(Latent.id == any_(bindparam("ids", type_=ARRAY(BigInteger))))
    for table, *conditions in joins:
        query = query.outerjoin(table, and_(*conditions))
    return query


def _score(name: str, column: InstrumentedAttribute[Any], label: str) -> ColumnElement[Any]:
    """The one value that a score has, out of all scores of an explanation."""
    return func.max(column).filter(Score.name == name).label(label)


def _rows(
    session: Session,
    study: Study,
    part: list[Placed],
    figures: Collection[str],
    nearness: dict[int, float] | None = None,
) -> list[dict[str, Any]]:
    """The list's rows for some latents, in their order."""
    values = {
        "ids": [one.latent_id for one in part],
        "study": study.id,
        "simulator": study.simulator_id,
    }
    found = read(session, _rows_query(FIGURES.intersection(figures)), values)
    names = found.keys()
    of = {row.id: dict(zip(names, row, strict=True)) for row in found}
    near = nearness or {}
    return [
        {**of[one.latent_id], "nearness": near.get(one.latent_id)}
        for one in part
        if one.latent_id in of
    ]


def neighbours(
    session: Session, study: Study, wanted: LatentFilter, latent: Latent
) -> tuple[int | None, int | None]:
    """Indices of the latents before and after this one in a list. It need not be in it itself:
    then they are those between which it would stand."""
    latents = matched(session, study, wanted)
    if wanted.meaning.strip():
        near = nearest(session, wanted, latents)
        order = [one.latent for one in near]
        at = order.index(latent.index) if latent.index in order else None
        left, right = [at - 1, at + 1] if at is not None else [-1, 0]
        return (
            order[left] if left >= 0 else None,
            order[right] if right < len(order) else None,
        )
    place = _place(session, study, wanted, latent)
    around = [
        walk(session, study, wanted, latents, place, backwards=backwards, limit=1)
        for backwards in (True, False)
    ]
    before, after = (found[0].latent if found else None for found in around)
    return before, after


def _place(session: Session, study: Study, wanted: LatentFilter, latent: Latent) -> Place:
    """The position of a latent, or of one that would be there, in a list by a column."""
    if wanted.sort == "index":
        return Place(None, latent.index)
    value, tie, conditions = _column(study, wanted.sort)
    query = select(value.label("value"), tie.label("tie")).where(
        Latent.id == latent.id, *conditions, value < NAN
    )
    row = read(session, query).first()
    return Place(row.value, row.tie) if row is not None else Place(None, latent.index)


def random_latent(session: Session, study: Study, wanted: LatentFilter) -> int | None:
    """Index of any latent of the list; None if it is empty."""
    if wanted.meaning.strip():
        near = nearest(session, wanted, matched(session, study, wanted))
        return random.choice(near).latent if near else None
    query = select(Latent.index).where(*matching(study, wanted))
    return session.scalar(query.order_by(func.random()).limit(1))
