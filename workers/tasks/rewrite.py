"""Measure the loss of the layer with more and more of its latents rewritten."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp import splice, statistics
from interp.calibrate import Method
from interp.contexts import ContextSet
from interp.evaluate import Condition, Known, Protocol, evaluate
from interp.splice import Splice
from models import Job, Rewrite, RewritePoint, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import coder_of, store_of, subject_of
from workers.tasks.orderings import make_rewrite
from workers.tasks.rows import context_tokens, documents_of, first_position
from workers.tasks.values import SimulatedValues

BASELINES = [
    Condition.UNTOUCHED,
    Condition.REAL_LATENTS,
    Condition.ZERO,
    Condition.NO_LATENTS,
    Condition.MEAN,
]
SET_CONDITIONS = [
    (Condition.SET_ZEROED, ""),
    (Condition.REWRITTEN, Method.ISOTONIC),
    (Condition.REWRITTEN, Method.QUANTILE),
    (Condition.ORACLE_VALUES, Method.QUANTILE),
    (Condition.ORACLE_GATING, Method.ISOTONIC),
    (Condition.RANDOM_LATENTS, ""),
    (Condition.REWRITTEN, Method.LINEAR),
    (Condition.REWRITTEN, Method.NONE),
]
AT_ONCE = {Protocol.WHOLE: 4, Protocol.PAPER: 64}
"""Points measured in one unit of work, some seconds long. More share more of the model below the
hookpoint; under ``paper`` that is nearly all of the work."""


class Planned(NamedTuple):
    """A point to measure."""

    condition: Condition
    calibration: str
    ordering: str
    explanation_ids: tuple[int, ...]
    """The set, in the ordering's order; empty for conditions without one."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Measure every point of a rewrite that is not there yet."""
    rewrite = make_rewrite(session, job, study)
    parent = _comparable_parent(session, rewrite)
    planned = _plan(rewrite)
    measurement = _Measurement(session, study, rewrite, parent)
    done = 0
    for units in _units(planned, AT_ONCE[Protocol(rewrite.protocol)]):
        done += len(units)
        new = [point for point in units if _find(session, rewrite, point) is None]
        if not new:
            continue
        copied = [(point, found) for point in new if (found := _unchanged(session, parent, point))]
        for point, found in copied:
            losses, kls = np.array(found.losses), np.array(found.kls, dtype=float)
            measurement.save(point, losses, kls, copied_from=found)
        measurement.measure([point for point in new if point not in dict(copied)])
        session.commit()
        publish(study.id, "chart")
        yield Progress(done, len(planned), "points", f"{rewrite.protocol} protocol")
    rewrite.finished = True
    session.commit()
    publish(study.id, "chart")


def _plan(rewrite: Rewrite) -> list[Planned]:
    """Baselines first, then from the largest set down: what moves most is first.

    The other orderings have the same whole set, so they are measured below it only, and only under
    the calibration that is the best guess.
    """
    orderings: dict[str, list[int]] = rewrite.orderings
    counts = rewrite.counts[::-1]
    return [
        *(Planned(condition, "", "", ()) for condition in BASELINES),
        *(
            Planned(condition, str(calibration), "score", tuple(orderings["score"][:count]))
            for count in counts
            for condition, calibration in SET_CONDITIONS
        ),
        *(
            Planned(condition, str(calibration), ordering, tuple(order[:count]))
            for ordering, order in orderings.items()
            if ordering != "score"
            for count in counts[1:]
            for condition, calibration in SET_CONDITIONS[:2]
        ),
    ]


def _units(planned: list[Planned], size: int) -> Iterator[list[Planned]]:
    """Baselines alone, since all others are compared with them; then so many points at once."""
    yield planned[: len(BASELINES)]
    for start in range(len(BASELINES), len(planned), size):
        yield planned[start : start + size]


def _find(session: Session, rewrite: Rewrite | None, point: Planned) -> RewritePoint | None:
    if rewrite is None:
        return None
    return session.scalar(
        select(RewritePoint).filter_by(
            rewrite_id=rewrite.id,
            condition=str(point.condition),
            calibration=point.calibration,
            ordering=point.ordering,
            count=len(point.explanation_ids),
        )
    )


def _comparable_parent(session: Session, rewrite: Rewrite) -> Rewrite | None:
    """The rewrite that this one repeats, if its figures can be taken over."""
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    if (
        parent is None
        or parent.context_ids != rewrite.context_ids
        or parent.code_version != rewrite.code_version
    ):
        return None
    return parent


def _set_of(rewrite: Rewrite, point: Planned) -> tuple[int, ...]:
    """The explanations that another rewrite has in the place of this point's set."""
    order = rewrite.orderings.get(point.ordering, [])
    return tuple(order[: len(point.explanation_ids)])


def _unchanged(session: Session, parent: Rewrite | None, point: Planned) -> RewritePoint | None:
    """The parent's point, if this one has the same set of explanations."""
    if parent is None or set(_set_of(parent, point)) != set(point.explanation_ids):
        return None
    found = _find(session, parent, point)
    return found if found is not None and found.kls is not None else None


class _Measurement:
    """What measuring the points of one rewrite needs."""

    def __init__(
        self, session: Session, study: Study, rewrite: Rewrite, parent: Rewrite | None
    ) -> None:
        self.session, self.study, self.rewrite, self.parent = session, study, rewrite, parent
        self.subject, self.coder = subject_of(study), coder_of(study)
        self.protocol = Protocol(rewrite.protocol)
        ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
        place = {context_id: row for row, context_id in enumerate(ids)}
        self.tokens = tokens[[place[i] for i in rewrite.context_ids]]
        self.documents = documents_of(session, rewrite.context_ids)
        explanations = {*rewrite.explanation_ids, *(parent.explanation_ids if parent else ())}
        self.values = SimulatedValues(
            session,
            list(explanations),
            rewrite.simulator_id,
            rewrite.context_ids,
            self.protocol.spliced(study.context_length, first_position(study)),
        )

    def measure(self, points: list[Planned]) -> None:
        """Run the model under the conditions of some points, and save them."""
        if not points:
            return
        evaluated = evaluate(
            self.subject,
            self.coder,
            self.tokens,
            [self._splice(point) for point in points],
            protocol=self.protocol,
            first_position=first_position(self.study),
            known=list(self._known(points)),
        )
        for point, losses, kls in zip(points, evaluated.loss, evaluated.kl, strict=True):
            self.save(point, losses, kls)

    def _splice(self, point: Planned) -> Splice:
        match point.condition:
            case Condition.UNTOUCHED:
                return splice.untouched
            case Condition.REAL_LATENTS:
                return splice.real_latents
            case Condition.ZERO:
                return splice.zero
            case Condition.NO_LATENTS:
                return splice.no_latents
            case Condition.MEAN:
                _, output = store_of(self.study, ContextSet.EXPLAIN).summary()
                return splice.mean(torch.as_tensor(output))
        return self.values.splice(
            point.condition,
            point.calibration,
            list(point.explanation_ids),
            seed=self.rewrite.seed,
        )

    def _known(self, points: list[Planned]) -> Iterator[Known]:
        """What is measured already and may be the same on many contexts: the real latents, and
        the same points before the last edit."""
        real = _find(self.session, self.rewrite, Planned(Condition.REAL_LATENTS, "", "", ()))
        if real is not None:
            yield _as_known(splice.real_latents, real)
        for point in points:
            earlier = _find(self.session, self.parent, point)
            if self.parent is not None and earlier is not None and earlier.kls is not None:
                before = point._replace(explanation_ids=_set_of(self.parent, point))
                yield _as_known(self._splice(before), earlier)

    def save(
        self,
        point: Planned,
        losses: NDArray[np.float64],
        kls: NDArray[np.float64],
        copied_from: RewritePoint | None = None,
    ) -> None:
        """Add a point with its statistics to the session."""
        seed = self.study.seed
        explanations = list(point.explanation_ids)
        untouched = self._losses(Planned(Condition.UNTOUCHED, "", "", ()))
        baseline = losses if untouched is None else untouched
        increase = statistics.mean_difference(losses, baseline, self.documents, seed=seed)
        kl = statistics.mean(kls, self.documents, seed=seed)
        self.session.add(
            RewritePoint(
                rewrite_id=self.rewrite.id,
                condition=str(point.condition),
                calibration=point.calibration,
                ordering=point.ordering,
                count=len(explanations),
                fraction=self.values.rewritten(explanations) / self.coder.num_latents,
                missing=self.values.missing(explanations),
                losses=losses.tolist(),
                increase=increase.value,
                low=increase.low,
                high=increase.high,
                kls=kls.tolist(),
                kl=kl.value,
                kl_low=kl.low,
                kl_high=kl.high,
                statistics=self._statistics(point, losses, baseline, copied=bool(copied_from)),
                copied_from=copied_from.id if copied_from else None,
            )
        )
        self.session.flush()

    def _losses(self, point: Planned) -> NDArray[np.float64] | None:
        found = _find(self.session, self.rewrite, point)
        return None if found is None else np.array(found.losses)

    def _statistics(
        self,
        point: Planned,
        losses: NDArray[np.float64],
        untouched: NDArray[np.float64],
        *,
        copied: bool,
    ) -> dict[str, object]:
        """How a point compares with the others, see ``RewritePoint.statistics``."""
        zero = self._losses(Planned(Condition.ZERO, "", "", ()))
        none = self._losses(Planned(Condition.NO_LATENTS, "", "", ()))
        real = self._losses(Planned(Condition.REAL_LATENTS, "", "", ()))
        before = None if copied else _find(self.session, self.parent, point)
        others = {
            "zero": zero,
            "no_latents": none,
            "set_zeroed": self._losses(
                point._replace(condition=Condition.SET_ZEROED, calibration="")
            ),
            "before": None if before is None else np.array(before.losses),
        }
        seed, documents = self.study.seed, self.documents
        return {
            "effective_contexts": _nullable(
                statistics.effective_contexts(losses - untouched, documents)
            ),
            "against": {
                name: _fields(statistics.compare(losses, other, documents, seed=seed))
                for name, other in others.items()
                if other is not None and name != str(point.condition)
            },
            "recovered": {
                name: _fields(statistics.recovered(losses, worst, real, documents, seed=seed))
                for name, worst in (("no_latents", none), ("zero", zero))
                if worst is not None and real is not None
            },
        }


def _as_known(spliced: Splice, point: RewritePoint) -> Known:
    return Known(spliced, np.array(point.losses), np.array(point.kls, dtype=float))


def _fields(figures: statistics.Comparison | statistics.Estimate) -> dict[str, float | None]:
    return {name: _nullable(value) for name, value in figures._asdict().items()}


def _nullable(value: float) -> float | None:
    """NaN, which is no JSON, becomes null."""
    return None if np.isnan(value) else value
