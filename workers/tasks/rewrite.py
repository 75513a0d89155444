"""Measure the loss of the layer with more and more of its latents rewritten."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp import calibrate, splice
from interp.contexts import ContextSet
from interp.errors import InputError
from interp.evaluate import Condition, Positions, context_losses, losses_against
from interp.splice import Splice, Values
from interp.statistics import mean_difference
from models import Explanation, Job, Latent, Rewrite, RewritePoint, Score, Simulation, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import coder_of, real_losses, store_of, subject_of
from workers.tasks.rows import context_tokens, first_position, from_nullable
from workers.tasks.simulate import calibrations_of
from workers.version import code_version

POINTS = 4
"""Points on a line: the whole set, half of it, a quarter, and so on."""


class Planned(NamedTuple):
    """A point to measure."""

    condition: Condition
    calibration: str
    number: int
    """How many explanations, in the rewrite's order; 0 where it makes no difference."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Measure every point of a rewrite that is not there yet."""
    rewrite = _rewrite(session, job, study)
    planned = _plan(rewrite)
    values = _Values(session, rewrite)
    measure = _measure(session, study, rewrite, values)
    reusable = _reusable(session, rewrite)
    for number, point in enumerate(planned, start=1):
        if _find(session, rewrite.id, point) is not None:
            continue
        earlier = _find(session, rewrite.parent_id, point) if reusable(point) else None
        losses = np.array(earlier.losses) if earlier else measure(point)
        _save(session, study, rewrite, point, losses, values, earlier)
        publish(study.id, "chart")
        yield Progress(number, len(planned), "points", str(point.condition).replace("_", " "))
    rewrite.finished = True
    session.commit()
    publish(study.id, "chart")


def _measure(
    session: Session, study: Study, rewrite: Rewrite, values: "_Values"
) -> Callable[[Planned], NDArray[np.float64]]:
    """A function that runs the model under a point's condition."""
    subject, coder = subject_of(study), coder_of(study)
    _, tokens = context_tokens(session, study, ContextSet.EVALUATE)
    positions, first = Positions(rewrite.positions), first_position(study)

    def run_all(spliced: Splice | None) -> NDArray[np.float64]:
        return context_losses(subject, tokens, spliced, positions=positions, first_position=first)

    def run_changed(spliced: Splice) -> NDArray[np.float64]:
        reference = splice.real_latents(coder)
        real = real_losses(study, subject, coder, tokens, positions)
        (cost,) = losses_against(
            reference,
            real,
            subject,
            tokens,
            [spliced],
            positions=positions,
            first_position=first,
        )
        return cost.losses

    def measure(point: Planned) -> NDArray[np.float64]:
        match point.condition:
            case Condition.UNTOUCHED:
                return run_all(None)
            case Condition.REAL_LATENTS:
                return real_losses(study, subject, coder, tokens, positions)
            case Condition.ZERO:
                return run_all(splice.zero)
            case Condition.MEAN:
                _, output = store_of(study, ContextSet.EXPLAIN).summary()
                return run_all(splice.mean(output))
            case Condition.NO_LATENTS:
                return run_all(splice.no_latents(coder))
            case Condition.SET_ZEROED:
                return run_changed(splice.set_zeroed(coder, values.raw(point.number)))
            case Condition.REWRITTEN:
                calibrated = values.calibrated(point.calibration, point.number)
                return run_changed(splice.rewritten(coder, calibrated))

    return measure


def _rewrite(session: Session, job: Job, study: Study) -> Rewrite:
    """The job's rewrite, made on its first start."""
    if rewrite_id := job.params.get("rewrite_id"):
        return session.get_one(Rewrite, rewrite_id)
    simulator_id = job.params.get("simulator_id") or study.simulator_id
    parent = session.get(Rewrite, job.params.get("parent_id") or 0)
    explanation_ids = _ordered(
        session, study, simulator_id, job.params.get("explanation_ids"), parent
    )
    if not explanation_ids:
        raise InputError(
            "No explanation of this study has been simulated yet. Simulate some first."
        )
    size = len(explanation_ids)
    rewrite = Rewrite(
        study_id=study.id,
        simulator_id=simulator_id,
        positions=str(Positions(job.params.get("positions", Positions.ALL))),
        explanation_ids=explanation_ids,
        counts=sorted({max(1, round(size / 2**i)) for i in range(POINTS)}),
        context_ids=context_tokens(session, study, ContextSet.EVALUATE)[0],
        seed=study.seed,
        parent_id=parent.id if parent else None,
        code_version=code_version(),
    )
    session.add(rewrite)
    session.flush()
    job.params = {**job.params, "rewrite_id": rewrite.id}
    session.commit()
    return rewrite


def _ordered(
    session: Session,
    study: Study,
    simulator_id: int | None,
    changed: list[int] | None,
    parent: Rewrite | None,
) -> list[int]:
    """Which explanations are rewritten, and in which order.

    A repeat keeps the order of its parent, so that the two can be compared point by point: the
    changed explanations take the places of their latents, and new latents come last. Otherwise the
    current explanations that have been simulated are taken, best correlation first.
    """
    simulated = (
        select(Explanation.id, Explanation.latent_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .outerjoin(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == simulator_id)
            & (Score.name == "correlation"),
        )
        .where(
            Latent.study_id == study.id,
            Simulation.simulator_id == simulator_id,
            Simulation.set == str(ContextSet.EVALUATE),
        )
        .order_by(Score.value.desc().nulls_last(), Latent.index)
    )
    if parent is None or changed is None:
        current = simulated.where(Latent.explanation_id == Explanation.id)
        return [row.id for row in session.execute(current)]
    new = {
        row.latent_id: row.id
        for row in session.execute(simulated.where(Explanation.id.in_(changed)))
    }
    parents = select(Explanation).where(Explanation.id.in_(parent.explanation_ids))
    latent_of = {e.id: e.latent_id for e in session.scalars(parents)}
    kept = [new.pop(latent_of[old], old) for old in parent.explanation_ids]
    return [*kept, *new.values()]


def _plan(rewrite: Rewrite) -> list[Planned]:
    """Baselines first, then the lines, each from the largest set down: what moves most is first."""
    baselines = [
        Planned(condition, "", 0)
        for condition in (
            Condition.UNTOUCHED,
            Condition.REAL_LATENTS,
            Condition.ZERO,
            Condition.NO_LATENTS,
            Condition.MEAN,
        )
    ]
    counts = rewrite.counts[::-1]
    lines = [
        (Condition.REWRITTEN, str(calibrate.Method.ISOTONIC)),
        (Condition.SET_ZEROED, ""),
        (Condition.REWRITTEN, str(calibrate.Method.QUANTILE)),
        (Condition.REWRITTEN, str(calibrate.Method.LINEAR)),
    ]
    return [*baselines, *(Planned(*line, count) for line in lines for count in counts)]


def _find(session: Session, rewrite_id: int | None, point: Planned) -> RewritePoint | None:
    return session.scalar(
        select(RewritePoint).filter_by(
            rewrite_id=rewrite_id,
            condition=str(point.condition),
            calibration=point.calibration,
            count=point.number,
        )
    )


def _save(
    session: Session,
    study: Study,
    rewrite: Rewrite,
    point: Planned,
    losses: NDArray[np.float64],
    values: "_Values",
    earlier: RewritePoint | None,
) -> None:
    untouched = _find(session, rewrite.id, Planned(Condition.UNTOUCHED, "", 0))
    baseline = np.array(untouched.losses) if untouched else losses
    increase = mean_difference(losses, baseline, seed=study.seed)
    session.add(
        RewritePoint(
            rewrite_id=rewrite.id,
            condition=str(point.condition),
            calibration=point.calibration,
            count=point.number,
            fraction=values.rewritten(point.number) / coder_of(study).num_latents,
            missing=values.missing(point.number, first_position(study)),
            losses=losses.tolist(),
            increase=increase.value,
            low=increase.low,
            high=increase.high,
            copied_from=earlier.id if earlier else None,
        )
    )
    session.commit()


def _reusable(session: Session, rewrite: Rewrite) -> Callable[[Planned], bool]:
    """Which points are the parent's, because nothing they depend on has changed."""
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    if (
        parent is None
        or parent.context_ids != rewrite.context_ids
        or parent.positions != rewrite.positions
        or parent.code_version != rewrite.code_version
    ):
        return lambda point: False
    same = 0
    for old, new in zip(parent.explanation_ids, rewrite.explanation_ids, strict=False):
        if old != new:
            break
        same += 1
    return lambda point: point.number <= same


class _Values:
    """Simulated values of a rewrite's explanations on the evaluate set."""

    def __init__(self, session: Session, rewrite: Rewrite) -> None:
        rows = session.execute(
            select(Simulation.explanation_id, Simulation.values, Latent.index.label("latent"))
            .join(Explanation, Explanation.id == Simulation.explanation_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(
                Simulation.explanation_id.in_(rewrite.explanation_ids),
                Simulation.simulator_id == rewrite.simulator_id,
                Simulation.set == str(ContextSet.EVALUATE),
            )
        )
        found = {row.explanation_id: row for row in rows}
        ordered = [found[i] for i in rewrite.explanation_ids]
        self._latents = torch.tensor([row.latent for row in ordered])
        self._maps = [
            calibrations_of(session, i, rewrite.simulator_id) for i in rewrite.explanation_ids
        ]
        # Without a calibration every value of an explanation is missing: its latent stays real.
        self._raw = [
            from_nullable(row.values) if maps else np.full_like(from_nullable(row.values), np.nan)
            for row, maps in zip(ordered, self._maps, strict=True)
        ]

    def raw(self, number: int) -> Values:
        """Uncalibrated values of the first so many explanations."""
        return self._stack(self._raw[:number])

    def calibrated(self, method: str, number: int) -> Values:
        """Calibrated values of the first so many explanations."""
        return self._stack(
            [
                maps[method](raw) if maps else raw
                for maps, raw in zip(self._maps[:number], self._raw[:number], strict=True)
            ]
        )

    def missing(self, number: int, first: int) -> int:
        """How many values the first so many explanations lack, from position ``first`` on."""
        return sum(int(np.isnan(raw[:, first:]).sum()) for raw in self._raw[:number])

    def rewritten(self, number: int) -> int:
        """How many of the first so many latents have any value."""
        return sum(bool(maps) for maps in self._maps[:number])

    def _stack(self, values: list[NDArray[np.float64]]) -> Values:
        stacked = torch.from_numpy(np.stack(values, axis=-1)).float()
        return Values(self._latents[: len(values)], stacked)
