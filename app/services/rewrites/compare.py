"""Two rewrites, compared context by context."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.rewrites.queries import Results, results_of
from app.services.rewrites.views import ISOTONIC, QUANTILE, ZEROED, Line
from app.services.schemas import Comparison
from interp.scoring import statistics
from models import Context, Explanation, Latent, Rewrite, RewritePoint
from models.base import among


class Pair(NamedTuple):
    """The same point of two rewrites."""

    line: str
    latents: int
    """How many are rewritten in both."""
    first: RewritePoint
    second: RewritePoint
    comparison: Comparison
    """Of the second with the first, on the contexts of both."""


class Changed(NamedTuple):
    """A latent whose explanation is not the same in both; None where it is not rewritten."""

    latent: int
    first: str | None
    second: str | None


class Compared(NamedTuple):
    """The points that two rewrites share, and their differences."""

    first: Results
    second: Results
    contexts: int
    """How many contexts both were measured on."""
    pairs: list[Pair]
    """Empty where there is nothing to pair: no common context, or another protocol."""
    changed: list[Changed]


def compare_rewrites(session: Session, first: Rewrite, second: Rewrite) -> Compared:
    """Pair the points of two rewrites that have equally many latents, and compare their losses.

    Losses are paired by context, so only contexts that both were measured on count. Under another
    protocol the losses are of other predictions: then nothing is paired.
    """
    a, b = (results_of(session, one) for one in (first, second))
    places = [{i: n for n, i in enumerate(one.context_ids)} for one in (first, second)]
    shared = [i for i in first.context_ids if i in places[1]]
    pairs: list[Pair] = []
    if len(shared) > 1 and first.protocol == second.protocol:
        rows = session.execute(select(Context.id, Context.document).where(Context.id.in_(shared)))
        document = {i: name for i, name in rows}
        for line, one, other in _paired(a, b):
            losses = [
                np.array([point.losses[place[i]] for i in shared], dtype=float)
                for point, place in zip((one, other), places, strict=True)
            ]
            known = np.isfinite(losses[0]) & np.isfinite(losses[1])
            documents = [document[i] for i, there in zip(shared, known, strict=True) if there]
            if len(documents) < 2:
                continue
            found = statistics.compare(
                losses[1][known], losses[0][known], documents, seed=second.seed
            )
            comparison = Comparison.model_validate(found._asdict())
            pairs.append(Pair(line.name, one.count, one, other, comparison))
    return Compared(a, b, len(shared), pairs, _changed(session, first, second))


def opening(
    offered: Sequence[Rewrite], first: Rewrite | None, second: Rewrite | None
) -> tuple[Rewrite | None, Rewrite | None]:
    """Two rewrites that can be compared: those that are named, and the newest that go with them.

    Args:
        offered: Newest first.
    """
    pairs = (
        (one, other)
        for other in ([second] if second else offered)
        for one in ([first] if first else offered)
        if (one.id < other.id or first or second) and _can_compare(one, other)
    )
    # Two that are named are compared whatever they are: the page says why they cannot be.
    named = first, second or next(iter(offered), None)
    return named if first and second else next(pairs, named)


def _can_compare(one: Rewrite, other: Rewrite) -> bool:
    """True if the two share contexts, and a number of latents."""
    return (
        one.id != other.id
        and one.protocol == other.protocol
        and len(set(one.context_ids) & set(other.context_ids)) > 1
        and not set(one.counts).isdisjoint(other.counts)
    )


def _paired(a: Results, b: Results) -> list[tuple[Line, RewritePoint, RewritePoint]]:
    """Points of both with equally many latents, largest sets first."""
    found = []
    for line in (ISOTONIC, QUANTILE, ZEROED):
        others = {point.count: point for point in b.line(line)}
        both = [
            (line, point, others[point.count]) for point in a.line(line) if point.count in others
        ]
        found += both[::-1]
    return found


def _changed(session: Session, first: Rewrite, second: Rewrite) -> list[Changed]:
    mine, theirs = set(first.explanation_ids), set(second.explanation_ids)
    rows = session.execute(
        select(Explanation.id, Explanation.text, Latent.index.label("latent"))
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(among(Explanation.id, mine ^ theirs))
        .order_by(Latent.index)
    )
    changed: dict[int, Changed] = {}
    for row in rows:
        before = changed.get(row.latent, Changed(row.latent, None, None))
        side = {"first": row.text} if row.id in mine else {"second": row.text}
        changed[row.latent] = before._replace(**side)
    return list(changed.values())
