"""Latents and their examples in the database."""

from collections.abc import Collection
from typing import Annotated, NamedTuple

from fastapi import Path
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    RowMapping,
    any_,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased, joinedload

from app.database import array_of, read
from app.errors import NotFound
from app.lists.queries import by_name
from app.rewrites.schemas import Comparison
from app.studies.queries import get_study
from models import (
    Calibration,
    Example,
    Explanation,
    Latent,
    LatentCost,
    LatentList,
    LatentListItem,
    Score,
    Simulation,
    Study,
)

Index = Annotated[int, Path(ge=0, lt=2**31, description="Index of a latent in its coder.")]


_BY_INDEX = select(Latent).where(
    Latent.study_id == bindparam("study"), Latent.index == bindparam("index")
)


# One statement instead of two: making one takes longer than answering it.
_STUDY_AND_LATENT = (
    select(Study, Latent)
    .options(joinedload(Study.simulator))
    .outerjoin(Latent, (Latent.study_id == Study.id) & (Latent.index == bindparam("index")))
    .where(Study.slug == bindparam("slug"))
)


def study_and_latent(session: Session, slug: str, index: int) -> tuple[Study, Latent]:
    """A study, and one latent of it.

    Raises:
        NotFound: There is no such study, or it has no latent of this index.
    """
    found = session.execute(_STUDY_AND_LATENT, {"slug": slug, "index": index}).first()
    if found is not None and found[1] is not None:
        return found[0], found[1]
    study = get_study(session, slug)
    return study, get_latent(session, study, index)


def get_latent(session: Session, study: Study, index: int) -> Latent:
    """One latent of a study.

    Raises:
        NotFound: The study has none of this index.
    """
    latent = session.scalar(_BY_INDEX, {"study": study.id, "index": index})
    if latent is not None:
        return latent
    count, last = session.execute(
        select(func.count(), func.max(Latent.index)).where(Latent.study_id == study.id)
    ).one()
    if not count:
        raise NotFound(
            f"There is no latent {index} in study {study.slug} yet: its activations are still to "
            "be collected. The study's page shows how far that is."
        )
    raise NotFound(
        f"There is no latent {index} in study {study.slug}: it has {count:,} (0 to {last:,})."
    )


class Around(NamedTuple):
    """What the page of a latent says around it."""

    before: int | None
    after: int | None
    """Indices of its neighbours in the list of all latents by index."""
    lists: list[str]
    """Names of the lists it is on; the starred ones first."""
    examples: dict[str, int]
    """How many it has of each kind."""


_THERE = Latent.study_id == bindparam("study")
_by_kind = (
    select(Example.kind, func.count().label("count"))
    .where(Example.latent_id == bindparam("latent"))
    .group_by(Example.kind)
    .subquery()
)
# One statement for all of it, as making a statement takes longer than answering this one.
_AROUND = select(
    select(func.max(Latent.index))
    .where(_THERE, Latent.index < bindparam("index"))
    .scalar_subquery(),
    select(func.min(Latent.index))
    .where(_THERE, Latent.index > bindparam("index"))
    .scalar_subquery(),
    array_of(
        select(LatentList.name)
        .join(LatentListItem, LatentListItem.list_id == LatentList.id)
        .where(LatentListItem.latent_id == bindparam("latent"))
    ),
    select(func.jsonb_object_agg(_by_kind.c.kind, _by_kind.c.count)).scalar_subquery(),
)


def around(session: Session, study: Study, latent: Latent) -> Around:
    """What the page of a latent says around it."""
    values = {"study": study.id, "latent": latent.id, "index": latent.index}
    before, after, lists, examples = read(session, _AROUND, values).one()
    return Around(before, after, by_name(lists), examples or {})


class ShownCost(NamedTuple):
    """A cost as the page of its latent names it."""

    name: str
    cost: LatentCost


class Reworded(NamedTuple):
    """How the cost of a wording compares with that of the one it was written from."""

    comparison: Comparison
    contexts: int
    """Contexts in which the latent fires, and on which both were measured."""


class EditNext(NamedTuple):
    """Latents whose explanations cost most, dearest first."""

    rows: list[RowMapping]
    total: int
    """Latents of which the cost is known."""
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
    """What an explanation costs under the study's simulator: zeroed first, then rewritten."""
    return costs_by_explanation(session, study, [explanation.id], explanation.id)[explanation.id]


def costs_by_explanation(
    session: Session, study: Study, explanation_ids: Collection[int], whole: int | None
) -> dict[int, list[LatentCost]]:
    """What it costs to rewrite latents with explanations, isotonic.

    Args:
        whole: The explanation of which all costs are read.
    """
    found: dict[int, list[LatentCost]] = {number: [] for number in explanation_ids}
    values = {"explanations": list(found), "simulator": study.simulator_id, "whole": whole}
    for cost in session.scalars(_COSTS, values):
        found[cost.explanation_id].append(cost)
    return found


def shown_costs(costs: list[LatentCost], previous: list[LatentCost]) -> list[ShownCost]:
    """Costs of one wording, and of the one it was written from: zeroed, previous, this."""
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
    """Whether the new wording helped where the latent fires, under isotonic calibration."""
    named = dict(costs)
    this, previous = named.get("this, isotonic"), named.get("previous, isotonic")
    if this is None or previous is None or this.before is None:
        return None
    firing = {
        i for i, stratum in zip(this.context_ids, this.strata, strict=True) if stratum == "fires"
    }
    shared = firing.intersection(previous.context_ids)
    return Reworded(Comparison.model_validate(this.before), len(shared))


def simulated_explanations(session: Session, study: Study) -> list[int]:
    """Current explanations that can stand in for their latents, best correlation first.

    They have been simulated by the study's simulator, and calibrated on that.
    """
    calibrated = exists().where(
        Simulation.explanation_id == Explanation.id,
        Simulation.simulator_id == study.simulator_id,
        Simulation.set == "calibrate",
        Calibration.simulation_id == Simulation.id,
    )
    query = (
        select(Explanation.id)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .outerjoin(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == study.simulator_id)
            & (Score.name == "correlation"),
        )
        .where(Latent.study_id == study.id, calibrated)
        .order_by(Score.value.desc().nulls_last(), Latent.index)
    )
    return list(session.scalars(query))


def edit_next(session: Session, study: Study, *, limit: int, offset: int = 0) -> EditNext:
    """Latents by how much loss a better explanation could still win back.

    That is the cost of rewriting with the current explanation (isotonic) minus the cost of the real
    latent, which is 0: all costs are differences from all latents real.
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
