"""The latents to edit next: by the loss that a better explanation could still win back.

A first-order estimate ranks all simulated latents. The exact loss effect takes seconds a latent, so
only some have one. Where nothing is estimated yet, the exact one ranks those that have it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import (
    REAL,
    ColumnElement,
    RowMapping,
    and_,
    cast,
    func,
    null,
    select,
)
from sqlalchemy.orm import Session, aliased

from app.services.latents.filters import (
    NAN,
    estimate_of,
    loss_effect_of,
    newest_attribution,
)
from interp.vocabulary import Linearisation
from models import Attribution, EstimatedEffect, Explanation, Latent, LossEffect, Score, Study

FEWEST = 4
"""Fewer latents than this have no rank correlation worth telling."""


class Agreement(NamedTuple):
    """How far the estimates of some latents agree with their exact loss effects."""

    latents: int
    """Latents that have both."""
    rank_correlation: float | None
    """Spearman's. None for very few latents, or if either does not vary."""
    slope: float | None
    """Of the exact effect, by least squares on the estimate: 1 if the estimate has the size."""


class EditNext(NamedTuple):
    """Latents whose explanations have the largest loss effects, largest first."""

    rows: list[RowMapping]
    total: int
    """Latents in the ranking."""
    clear: int
    """How many of these are clearly above zero: their intervals leave it out."""
    estimated: bool
    """True if the estimate ranks them, false if the exact loss effect does."""
    point: Linearisation
    """The point of linearisation of the estimate."""
    agreement: Agreement | None
    """Of the estimates and the exact effects as they are listed. None without estimates."""
    on_same_contexts: Agreement | None
    """The same, with both as means over the contexts on which both are known. So the contexts make
    no difference, and only the linearisation does."""


def edit_next(
    session: Session,
    study: Study,
    *,
    limit: int,
    offset: int = 0,
    point: Linearisation = Linearisation.REAL_LATENTS,
) -> EditNext:
    """Latents by how much loss a better explanation could still win back."""
    estimated = session.scalar(select(newest_attribution(study))) is not None
    exact, correlation = aliased(LossEffect), aliased(Score)
    ranking, among = aliased(EstimatedEffect), aliased(EstimatedEffect)
    by = ranking if estimated else exact
    query = (
        select(
            Latent.index,
            Explanation.id.label("explanation_id"),
            Explanation.text.label("explanation"),
            *(_figures(ranking, "estimate", ranking.mean) if estimated else _nothing("estimate")),
            *(
                _figures(among, "estimate_rewritten", among.mean)
                if estimated
                else _nothing("estimate_rewritten")
            ),
            *_figures(exact, "loss_effect", exact.mean),
            *_figures(correlation, "correlation", correlation.value),
        )
        .select_from(Latent)
        .join(Explanation, Explanation.id == Latent.explanation_id)
        .join(
            exact,
            and_(exact.explanation_id == Explanation.id, *loss_effect_of(study, exact)),
            isouter=estimated,
        )
        .outerjoin(
            correlation,
            and_(
                correlation.explanation_id == Explanation.id,
                correlation.simulator_id == study.simulator_id,
                correlation.name == "correlation",
            ),
        )
        .where(Latent.study_id == study.id, _defined(by.mean).is_not(None))
    )
    if estimated:
        for effect, at in ((ranking, point), (among, Linearisation.REWRITTEN)):
            mine = effect.explanation_id == Explanation.id
            query = query.join(effect, and_(mine, *estimate_of(study, effect, at)))
    known = query.subquery()
    low = known.c.estimate_low if estimated else known.c.loss_effect_low
    total, clear = session.execute(
        select(func.count(), func.count().filter(low > 0)).select_from(known)
    ).one()
    query = query.order_by(_defined(by.mean).desc(), Latent.index).limit(limit).offset(offset)
    agreement, same = _agreements(session, study, point) if estimated else (None, None)
    rows = list(session.execute(query).mappings())
    return EditNext(rows, total, clear, estimated, point, agreement, same)


def _defined(value: Any) -> ColumnElement[float | None]:
    """A figure, null where it is not defined."""
    return func.nullif(value, NAN)


def _figures(of: Any, name: str, value: Any) -> list[ColumnElement[float | None]]:
    """A figure of a row with its interval, as three columns."""
    columns = zip(("", "_low", "_high"), (value, of.low, of.high), strict=True)
    return [_defined(column).label(name + end) for end, column in columns]


def _nothing(name: str) -> list[ColumnElement[float | None]]:
    return [cast(null(), REAL).label(name + end) for end in ("", "_low", "_high")]


def _agreements(
    session: Session, study: Study, point: Linearisation
) -> tuple[Agreement, Agreement]:
    rows = session.execute(
        select(
            EstimatedEffect.mean,
            EstimatedEffect.effects,
            LossEffect.mean.label("exact"),
            LossEffect.context_ids,
            LossEffect.differences,
        )
        .join(LossEffect, LossEffect.explanation_id == EstimatedEffect.explanation_id)
        .where(
            *estimate_of(study, EstimatedEffect, point),
            *loss_effect_of(study),
        )
    ).all()
    contexts = session.scalar(
        select(Attribution.context_ids).where(Attribution.id == newest_attribution(study))
    )
    place = {number: i for i, number in enumerate(contexts or ())}
    same = []
    for row in rows:
        shared = [
            (row.effects[place[number]], difference)
            for number, difference in zip(row.context_ids, row.differences, strict=True)
            if number in place
        ]
        if shared:
            same.append(np.mean(shared, axis=0))
    listed = [(row.mean, row.exact) for row in rows if None not in (row.mean, row.exact)]
    return agreement(listed), agreement(same)


def agreement(pairs: ArrayLike) -> Agreement:
    """Agreement of pairs of an estimate and an exact loss effect.

    >>> agreement([(0, 0), (1, 2), (2, 4), (3, 7)])
    Agreement(latents=4, rank_correlation=1.0, slope=2.3)
    """
    values = np.asarray(pairs, dtype=float).reshape(-1, 2)
    values = values[np.isfinite(values).all(1)]
    if len(values) < FEWEST or not values.std(0).all():
        return Agreement(len(values), None, None)
    estimates, exact = values.T
    ranks = np.corrcoef(_ranks(estimates), _ranks(exact))[0, 1]
    slope = np.cov(estimates, exact)[0, 1] / estimates.var(ddof=1)
    return Agreement(len(values), round(float(ranks), 6), round(float(slope), 6))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, where ties share their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
