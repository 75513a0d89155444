"""The list of latents, one page at a time, and what it shows of each."""

import random
from collections.abc import Collection
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    any_,
    bindparam,
    func,
    select,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.services.latents.filter_schemas import NEAREST, STARRED, LatentFilter, Part
from app.services.latents.filters import estimate_of, loss_effect_of, matched, matching
from app.services.latents.walk import FIGURES, SCORES, Place, Placed, nearest, place_of, walk
from app.services.rows import read
from models import (
    EstimatedEffect,
    Explanation,
    Latent,
    LatentList,
    LatentListItem,
    LossEffect,
    Score,
    Study,
)


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
        figures: The scores to read, ``loss_effect`` and ``estimated_effect``. Each takes its time
            to look up.

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
    if "loss_effect" in figures:
        columns.append(LossEffect.mean.label("loss_effect"))
        mine = LossEffect.explanation_id == Latent.explanation_id
        joins.append((LossEffect, mine, *loss_effect_of(study)))
    if "estimated_effect" in figures:
        columns.append(EstimatedEffect.mean.label("estimated_effect"))
        mine = EstimatedEffect.explanation_id == Latent.explanation_id
        joins.append((EstimatedEffect, mine, *estimate_of(study)))
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
    place = place_of(session, study, wanted, latent)
    around = [
        walk(session, study, wanted, latents, place, backwards=backwards, limit=1)
        for backwards in (True, False)
    ]
    before, after = (found[0].latent if found else None for found in around)
    return before, after


def random_latent(session: Session, study: Study, wanted: LatentFilter) -> int | None:
    """Index of any latent of the list; None if it is empty."""
    if wanted.meaning.strip():
        near = nearest(session, wanted, matched(session, study, wanted))
        return random.choice(near).latent if near else None
    query = select(Latent.index).where(*matching(study, wanted))
    return session.scalar(query.order_by(func.random()).limit(1))
