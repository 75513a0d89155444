"""The error budget of a study's rewritten layer, beside the exact losses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.formatting import figure, interval, percent, percents
from app.services.jobs.queries import latest_job
from app.services.latents.filters import newest_attribution
from app.services.latents.queries import simulated_explanations
from interp.rewriting.budget import means
from interp.scoring.statistics import Estimate
from interp.vocabulary import (
    Breadth,
    BudgetSplit,
    CalibrationMethod,
    Condition,
    PredictionError,
    Protocol,
)
from jobs.params import AttributeParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Attribution, BudgetEntry, Context, Job, Rewrite, RewritePoint, Study
from models.base import among

LATEST = 5
"""Rewrites, newest first, among which those of the same explanations are looked for."""
NEXT = {
    PredictionError.MISSED: "Next: let explanations name more of the places where latents fire.",
    PredictionError.FALSE_POSITIVE: "Next: narrow the explanations that name too much, or train "
    "the simulator on more tokens where latents are silent.",
    PredictionError.WRONG_SIZE: "Next: say how active latents are, or calibrate on more text: "
    "most explanations already say where.",
    PredictionError.BACKGROUND: "Next: a simulator that is surer where latents are silent.",
}
"""What to do about each error, if it is the largest."""


class Compared(NamedTuple):
    """An estimated part beside the exact loss that corresponds to it, in nats."""

    errors: list[PredictionError]
    exact_is: str
    estimate: Estimate
    exact: Estimate
    difference: Estimate
    """Exact minus estimate."""

    @property
    def agrees(self) -> bool | None:
        """True if the interval of the difference includes zero. None without an interval."""
        if not np.isfinite(self.difference).all():
            return None
        return self.difference.low <= 0 <= self.difference.high


class Group(NamedTuple):
    """The entries of one group of latents."""

    whole: BudgetEntry
    """All errors together."""
    errors: list[BudgetEntry]


class Budget(NamedTuple):
    """An error budget with its entries, the whole layer's first."""

    attribution: Attribution
    entries: list[BudgetEntry]
    documents: int
    compared: list[Compared]

    def split(self, split: BudgetSplit) -> list[Group]:
        """The groups of a split that have latents."""
        mine = [one for one in self.entries if one.split == split]
        return [
            Group(whole, [one for one in mine if one.group == whole.group and one.error])
            for whole in mine
            if not whole.error
        ]

    @property
    def layer(self) -> Group:
        """The whole layer."""
        return self.split(BudgetSplit.LAYER)[0]

    @property
    def largest(self) -> float:
        """The largest part, positive or negative, in nats, which a full bar stands for."""
        return max((abs(one.mean) for one in self.entries if one.mean is not None), default=0.0)


def measured(session: Session, study: Study) -> Attribution | None:
    """The newest attribution by the study's simulator, if it has an error budget."""
    row = session.scalar(select(Attribution).where(Attribution.id == newest_attribution(study)))
    return row if row is not None and row.increases is not None else None


def get_budget(session: Session, study: Study) -> Budget | None:
    """The error budget of the newest estimates, with exact losses of the same explanations."""
    row = measured(session, study)
    if row is None:
        return None
    entries = list_entries(session, row)
    found = session.execute(
        select(Context.id, Context.document).where(among(Context.id, row.context_ids))
    )
    of = {number: document for number, document in found}
    documents = [of[number] for number in row.context_ids]
    compared = _compared(session, row, entries, documents)
    return Budget(row, entries, len(set(documents)), compared)


def summary(session: Session, study: Study) -> str:
    """What the budget says, in sentences. Empty if it is not measured yet."""
    row = measured(session, study)
    if row is None:
        return ""
    return in_words(list_entries(session, row, BudgetSplit.LAYER, BudgetSplit.FIRING_RATE))


def list_entries(session: Session, row: Attribution, *splits: BudgetSplit) -> list[BudgetEntry]:
    """The entries of some splits, or all."""
    query = select(BudgetEntry).where(BudgetEntry.attribution_id == row.id)
    if splits:
        query = query.where(BudgetEntry.split.in_(splits))
    return list(session.scalars(query.order_by(BudgetEntry.place)))


def measure(session: Session, study: Study, user: str) -> Job:
    """Queue new estimates of all loss effects, with the error budget. Commits the session.

    Raises:
        Conflict: Nothing is simulated yet, or the estimates are on their way already.
    """
    if not simulated_explanations(session, study):
        raise Conflict(
            f"No explanation of study {study.slug} is simulated by its simulator yet. Simulate "
            "some first."
        )
    latest = latest_job(session, study, "attribute")
    if latest is not None and latest.status in ACTIVE:
        raise Conflict(f"The estimates of study {study.slug} are on their way already.")
    return enqueue(session, study, AttributeParams(), by=user)


def _compared(
    session: Session, row: Attribution, entries: Sequence[BudgetEntry], documents: Sequence[str]
) -> list[Compared]:
    parts = {
        one.error: np.array(one.effects, dtype=float)
        for one in entries
        if one.split == BudgetSplit.LAYER
    }
    missed, false_positive, wrong_size, background = (parts[str(one)] for one in PredictionError)
    exact = {"rewritten": np.array(row.increases, dtype=float)} | _oracles(session, row)
    wanted = [
        (
            list(PredictionError),
            "rewritten minus real latents",
            parts[""],
            exact["rewritten"],
        )
    ]
    if (gating := exact.get("gating")) is not None:
        wanted += [
            (
                [PredictionError.FALSE_POSITIVE, PredictionError.BACKGROUND],
                "rewritten minus oracle gating",
                false_positive + background,
                exact["rewritten"] - gating,
            ),
            (
                [PredictionError.MISSED, PredictionError.WRONG_SIZE],
                "oracle gating minus real latents",
                missed + wrong_size,
                gating,
            ),
        ]
    if (values := exact.get("values")) is not None:
        wanted.append(
            ([PredictionError.MISSED], "oracle values minus real latents", missed, values)
        )
    figures = [array for *_, mine, true in wanted for array in (mine, true, true - mine)]
    found = means(np.array(figures), documents, seed=row.seed)
    return [
        Compared(errors, exact_is, *found[3 * i : 3 * i + 3])
        for i, (errors, exact_is, *_) in enumerate(wanted)
    ]


def _oracles(session: Session, row: Attribution) -> dict[str, NDArray[np.float64]]:
    """Loss increases of the oracles over real latents on each context, as far as a rewrite of the
    same explanations on the same contexts has measured them."""
    rewrites = session.scalars(
        select(Rewrite)
        .where(
            Rewrite.study_id == row.study_id,
            Rewrite.simulator_id == row.simulator_id,
            Rewrite.protocol == Protocol.WHOLE,
        )
        .order_by(Rewrite.id.desc())
        .limit(LATEST)
    )
    for rewrite in rewrites:
        same = set(rewrite.explanation_ids) == set(row.explanation_ids)
        if not same or rewrite.context_ids != row.context_ids:
            continue
        points = session.scalars(
            select(RewritePoint).where(
                RewritePoint.rewrite_id == rewrite.id,
                RewritePoint.breadth == Breadth.PANEL,
                RewritePoint.count.in_([0, len(rewrite.explanation_ids)]),
            )
        )
        losses = {
            (one.condition, one.calibration): np.array(one.losses, dtype=float) for one in points
        }
        real = losses.get((Condition.REAL_LATENTS, ""))
        gating = losses.get((Condition.ORACLE_GATING, CalibrationMethod.ISOTONIC))
        values = losses.get((Condition.ORACLE_VALUES, CalibrationMethod.QUANTILE))
        if real is not None and (gating is not None or values is not None):
            found = {"gating": gating, "values": values}
            return {name: one - real for name, one in found.items() if one is not None}
    return {}


def in_words(entries: Sequence[BudgetEntry]) -> str:
    """What a budget says, and what to do next, in sentences.

    Args:
        entries: Those of the whole layer, and any others.
    """
    layer = [one for one in entries if one.split == BudgetSplit.LAYER]
    whole, *parts = layer
    total = f"{figure(whole.mean, 4, True)} nats {interval(whole.low, whole.high, 4, True)}".strip()
    if whole.share is None:
        return (
            f"The estimated loss increase over real latents is {total}. It is not clearly above "
            "zero, so nothing has a share of it. Next: rewrite more latents, or measure more "
            "contexts."
        )
    first, second, *_ = sorted(parts, key=lambda one: one.share or 0.0, reverse=True)
    error = PredictionError(first.error)
    said = [
        f"The estimated loss increase over real latents is {total}. The largest part is "
        f"{error.label}: {percent(first.share)} {percents(first.share_low, first.share_high)}."
    ]
    if (first.share_low or 0.0) < (second.share_high or 0.0):
        other = PredictionError(second.error).label
        said.append(
            f"Its interval meets that of {other}, {percent(second.share)} "
            f"{percents(second.share_low, second.share_high)}, so the order is not sure."
        )
    bands = [one for one in entries if one.split == BudgetSplit.FIRING_RATE and not one.error]
    if bands:
        most = max(bands, key=lambda one: one.share or 0.0)
        said.append(
            f"Latents that fire on {most.group} of tokens have {percent(most.share)} "
            f"{percents(most.share_low, most.share_high)}."
        )
    return " ".join([*said, NEXT[error]])
