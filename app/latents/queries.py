"""Latents and their examples in the database."""

from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, NamedTuple

import numpy as np
from fastapi import Path
from numpy.typing import NDArray
from sqlalchemy import REAL, RowMapping, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from app.errors import NotFound
from app.rewrites.schemas import Comparison
from models import (
    Calibration,
    Context,
    Example,
    Explanation,
    Latent,
    LatentCost,
    Score,
    Simulation,
    Study,
)

Index = Annotated[int, Path(ge=0, lt=2**31, description="Index of a latent in its coder.")]

RAW_MAX = 9.0
"""Simulated values are expected digits from 0 to this."""
KINDS = ("top", "quantile", "random", "near_miss")
"""Kinds of examples, in the order in which they are shown."""


def get_latent(session: Session, study: Study, index: int) -> Latent:
    """One latent of a study.

    Raises:
        NotFound: The study has none of this index.
    """
    latent = session.scalar(
        select(Latent).where(Latent.study_id == study.id, Latent.index == index)
    )
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


@dataclass(frozen=True)
class Token:
    """One token of an example, in the two lanes."""

    text: str
    real: float
    simulated: float | None
    """Raw value, 0 to 9."""
    calibrated: float | None
    """The raw value as an activation, by isotonic calibration."""
    state: str
    """``bos``, ``none`` (not simulated yet), ``missing`` or ``simulated``."""


@dataclass(frozen=True)
class ShownExample:
    kind: str
    rank: int
    document: str
    start: int
    tokens: list[Token]

    @property
    def peak(self) -> float:
        return max((token.real for token in self.tokens), default=0.0)


def list_examples(
    session: Session, study: Study, latent: Latent, explanation: Explanation | None
) -> list[ShownExample]:
    """Examples of a latent with what the study's simulator makes of an explanation on them."""
    rows_of: dict[int, NDArray[np.float32]] = {}
    knots = None
    if explanation is not None and study.simulator_id is not None:
        simulation = get_simulation(session, study, explanation, "explain")
        if simulation is not None:
            rows_of = dict(zip(simulation.context_ids, simulation.values, strict=True))
        knots = isotonic_knots(session, study, explanation)
    found = session.execute(
        select(Example, Context)
        .join(Context, Context.id == Example.context_id)
        .where(Example.latent_id == latent.id, Example.kind.in_(KINDS))
    )
    shown = [
        ShownExample(
            example.kind,
            example.rank,
            context.document,
            context.start,
            _tokens(study, example, context, rows_of.get(context.id), knots),
        )
        for example, context in found
    ]
    return sorted(shown, key=lambda example: (KINDS.index(example.kind), example.rank))


def group_examples(examples: list[ShownExample]) -> dict[str, list[ShownExample]]:
    """Examples by kind, in order."""
    return {kind: list(group) for kind, group in groupby(examples, lambda example: example.kind)}


def get_simulation(
    session: Session, study: Study, explanation: Explanation, set_name: str
) -> Simulation | None:
    """What the study's simulator made of an explanation on one set of contexts."""
    return session.scalar(
        select(Simulation).where(
            Simulation.explanation_id == explanation.id,
            Simulation.simulator_id == study.simulator_id,
            Simulation.set == set_name,
        )
    )


def isotonic_knots(
    session: Session, study: Study, explanation: Explanation
) -> tuple[list[float], list[float]] | None:
    """The isotonic map from raw simulated values to activations, if it is fitted."""
    calibration = session.scalar(
        select(Calibration)
        .join(Simulation, Simulation.id == Calibration.simulation_id)
        .where(
            Simulation.explanation_id == explanation.id,
            Simulation.simulator_id == study.simulator_id,
            Simulation.set == "calibrate",
            Calibration.method == "isotonic",
        )
    )
    return (calibration.x, calibration.y) if calibration is not None else None


def _tokens(
    study: Study,
    example: Example,
    context: Context,
    values: NDArray[np.float32] | None,
    knots: tuple[list[float], list[float]] | None,
) -> list[Token]:
    tokens = []
    for position, (text, real) in enumerate(zip(context.strings, example.activations, strict=True)):
        if position == 0 and study.prepend_bos:
            tokens.append(Token(text, real, None, None, "bos"))
        elif values is None:
            tokens.append(Token(text, real, None, None, "none"))
        elif np.isnan(values[position]):
            tokens.append(Token(text, real, None, None, "missing"))
        else:
            value = float(values[position])
            calibrated = float(np.interp(value, *knots)) if knots else None
            tokens.append(Token(text, real, value, calibrated, "simulated"))
    return tokens


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


def list_costs(session: Session, study: Study, explanation: Explanation) -> list[LatentCost]:
    """What an explanation costs under the study's simulator: zeroed first, then rewritten."""
    found = session.scalars(
        select(LatentCost).where(
            LatentCost.explanation_id == explanation.id,
            LatentCost.simulator_id == study.simulator_id,
        )
    )
    order = ["", "isotonic", "quantile", "linear", "none"]
    return sorted(found, key=lambda cost: order.index(cost.calibration))


def shown_costs(session: Session, study: Study, explanation: Explanation) -> list[ShownCost]:
    """Costs of one wording, and of the one it was written from: zeroed, previous, this."""
    costs = list_costs(session, study, explanation)
    parent = session.get(Explanation, explanation.parent_id) if explanation.parent_id else None
    previous = list_costs(session, study, parent) if parent and costs else []
    zeroed = [ShownCost("zeroed", cost) for cost in costs if cost.condition == "zeroed"]
    before = [ShownCost("previous, isotonic", c) for c in previous if c.calibration == "isotonic"]
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
