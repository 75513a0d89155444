"""Loss effects of single latents, in the database."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    RowMapping,
    any_,
    bindparam,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from app.services.latents.schemas import CostOut
from app.services.rows import columns
from app.services.schemas import Comparison
from app.services.simulators.independence import independence_of
from models import (
    Explanation,
    Latent,
    LatentCost,
    Score,
    Study,
)


class ShownCost(NamedTuple):
    """A cost as the page of its latent names it."""

    name: str
    cost: LatentCost


class Reworded(NamedTuple):
    """The loss effect of an explanation compared with that of the explanation it was written
    from."""

    comparison: Comparison
    contexts: int
    """Contexts in which the latent fires, and on which both were measured."""


class EditNext(NamedTuple):
    """Latents whose explanations cost most, dearest first."""

    rows: list[RowMapping]
    total: int
    """Latents with a known loss effect."""
    clear: int
    """How many of these costs are clearly above zero: their intervals leave it out."""


_COSTS = (
    select(LatentCost)
    .where(
        LatentCost.explanation_id == any_(bindparam("explanations", type_=ARRAY(BigInteger))),
        LatentCost.simulator_id == bindparam("simulator"),
        or_(
            LatentCost.calibration == "isotonic",
            LatentCost.explanation_id == bindparam("whole"),
        ),
    )
    .order_by(
        func.array_position(["", "isotonic", "quantile", "linear", "none"], LatentCost.calibration)
    )
)


def list_costs(session: Session, study: Study, explanation: Explanation) -> list[LatentCost]:
    """The loss effects of an explanation under the study's simulator: zeroed first, then
    rewritten."""
    return costs_by_explanation(session, study, [explanation.id], explanation.id)[explanation.id]


def costs_of(session: Session, study: Study, explanation: Explanation) -> list[CostOut]:
    """Costs of an explanation under the study's simulator."""
    independence = independence_of(session, study, study.simulator_id)
    return [
        CostOut.model_validate({**columns(cost), "independence": independence})
        for cost in list_costs(session, study, explanation)
    ]


def costs_by_explanation(
    session: Session, study: Study, explanation_ids: Collection[int], whole: int | None
) -> dict[int, list[LatentCost]]:
    """The loss effects of rewriting latents with explanations, isotonic.

    Args:
        whole: The explanation of which all costs are read.
    """
    found: dict[int, list[LatentCost]] = {number: [] for number in explanation_ids}
    values = {"explanations": list(found), "simulator": study.simulator_id, "whole": whole}
    for cost in session.scalars(_COSTS, values):
        found[cost.explanation_id].append(cost)
    return found


def shown_costs(costs: list[LatentCost], previous: list[LatentCost]) -> list[ShownCost]:
    """Costs of one explanation, and of the one it was written from: zeroed, previous, this."""
    zeroed = [ShownCost("zeroed", cost) for cost in costs if cost.condition == "zeroed"]
    before = [
        ShownCost("previous, isotonic", cost)
        for cost in previous
        if costs and cost.calibration == "isotonic"
    ]
    this = [
        ShownCost(f"this, {cost.calibration}", cost)
        for cost in costs
        if cost.condition == "rewritten"
    ]
    return [*zeroed, *before, *this]


def reworded(costs: list[ShownCost]) -> Reworded | None:
    """The test of a new explanation against its parent where the latent fires, under isotonic
    calibration."""
    named = dict(costs)
    this, previous = named.get("this, isotonic"), named.get("previous, isotonic")
    if this is None or previous is None or this.before is None:
        return None
    firing = {
        i for i, stratum in zip(this.context_ids, this.strata, strict=True) if stratum == "fires"
    }
    shared = firing.intersection(previous.context_ids)
    return Reworded(Comparison.model_validate(this.before), len(shared))


def edit_next(session: Session, study: Study, *, limit: int, offset: int = 0) -> EditNext:
    """Latents by how much loss a better explanation could still win back.

    That is the loss effect of the current explanation (isotonic) minus that of the real latent. The
    latter is 0, because all loss effects are differences from all latents real.
    """
    correlation = aliased(Score)
    # NaN sorts, and compares, above all numbers in PostgreSQL; what is not defined is missing.
    mean = func.nullif(LatentCost.mean, cast("NaN", REAL))
    low = func.nullif(LatentCost.low, cast("NaN", REAL))
    query = (
        select(
            Latent.index,
            Explanation.id.label("explanation_id"),
            Explanation.text.label("explanation"),
            mean.label("cost"),
            low.label("cost_low"),
            LatentCost.high.label("cost_high"),
            correlation.value.label("correlation"),
            correlation.low.label("correlation_low"),
            correlation.high.label("correlation_high"),
        )
        .join(Explanation, Explanation.id == Latent.explanation_id)
        .join(LatentCost, LatentCost.explanation_id == Explanation.id)
        .outerjoin(
            correlation,
            (correlation.explanation_id == Explanation.id)
            & (correlation.simulator_id == study.simulator_id)
            & (correlation.name == "correlation"),
        )
        .where(
            Latent.study_id == study.id,
            LatentCost.simulator_id == study.simulator_id,
            LatentCost.condition == "rewritten",
            LatentCost.calibration == "isotonic",
            mean.is_not(None),
        )
    )
    all_known = query.subquery()
    total, clear = session.execute(
        select(func.count(), func.count().filter(all_known.c.cost_low > 0))
    ).one()
    query = query.order_by(mean.desc(), Latent.index).limit(limit).offset(offset)
    return EditNext(list(session.execute(query).mappings()), total, clear)
