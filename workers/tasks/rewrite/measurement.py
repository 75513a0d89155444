"""Measure points of a rewrite, or take them over from the rewrite before."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sqlalchemy.orm import Session

from interp.rewriting import splice
from interp.rewriting.evaluate import Known, evaluate
from interp.rewriting.splice import Splice
from interp.scoring import statistics
from interp.vocabulary import Condition, ContextSet, Protocol
from models import Rewrite, RewritePoint, Study
from workers.resources import coder_of, store_of, subject_of
from workers.tasks.rewrite.points import Planned, find
from workers.tasks.rewrite.values import SimulatedValues
from workers.tasks.rows import context_tokens, documents_of, fields, finite


class Measurement:
    """The means of measuring the points of one rewrite."""

    def __init__(self, session: Session, study: Study, rewrite: Rewrite) -> None:
        self.session, self.study, self.rewrite = session, study, rewrite
        self.parent = parent = _comparable_parent(session, rewrite)
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
            self.protocol.spliced(study.context_length, study.first_position),
        )

    def _before(self, point: Planned) -> tuple[Planned, RewritePoint] | None:
        """The point of the parent that stands where this one does, if it was measured.

        The whole set stands where the whole set did, though an edit may have added a latent to it.
        """
        if self.parent is None:
            return None
        count = len(point.explanation_ids)
        if count == self.rewrite.counts[-1]:
            count = self.parent.counts[-1]
        order = self.parent.orderings.get(point.ordering, [])
        before = point._replace(explanation_ids=tuple(order[:count]))
        found = find(self.session, self.parent, before)
        return (before, found) if found is not None and found.kls is not None else None

    def copy(self, point: Planned) -> bool:
        """Take over the parent's point if it has the same set of explanations."""
        earlier = self._before(point)
        if earlier is None or set(earlier[0].explanation_ids) != set(point.explanation_ids):
            return False
        found = earlier[1]
        against = {k: v for k, v in found.statistics["against"].items() if k != "before"}
        same = ("fraction", "missing", "losses", "increase", "low", "high", "kls", "kl")
        self.session.add(
            RewritePoint(
                rewrite_id=self.rewrite.id,
                condition=str(point.condition),
                calibration=point.calibration,
                ordering=point.ordering,
                count=len(point.explanation_ids),
                **{name: getattr(found, name) for name in (*same, "kl_low", "kl_high")},
                statistics={**found.statistics, "against": against},
                copied_from=found.id,
            )
        )
        self.session.flush()
        return True

    def measure(self, points: Sequence[Planned]) -> None:
        """Run the model under the conditions of some points, and save them."""
        if not points:
            return
        evaluated = evaluate(
            self.subject,
            self.coder,
            self.tokens,
            [self._splice(point) for point in points],
            protocol=self.protocol,
            first_position=self.study.first_position,
            known=list(self._known(points)),
        )
        for point, losses, kls in zip(points, evaluated.loss, evaluated.kl, strict=True):
            self._save(point, losses, kls)

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

    def _known(self, points: Sequence[Planned]) -> Iterator[Known]:
        """Measured results that may be the same on many contexts. They are of the real latents, and
        of the same points before the last edit."""
        real = find(self.session, self.rewrite, Planned(Condition.REAL_LATENTS, "", "", ()))
        if real is not None:
            yield _as_known(splice.real_latents, real)
        for point in points:
            if earlier := self._before(point):
                before, found = earlier
                yield _as_known(self._splice(before), found)

    def _save(self, point: Planned, losses: NDArray[np.float64], kls: NDArray[np.float64]) -> None:
        """Add a point with its statistics to the session."""
        losses = _as_stored(losses)
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
                statistics=self._statistics(point, losses, baseline),
            )
        )
        self.session.flush()

    def _losses(self, point: Planned) -> NDArray[np.float64] | None:
        found = find(self.session, self.rewrite, point)
        return None if found is None else _as_stored(found.losses)

    def _statistics(
        self, point: Planned, losses: NDArray[np.float64], untouched: NDArray[np.float64]
    ) -> dict[str, object]:
        """Comparisons of a point with the others, see ``RewritePoint.statistics``."""
        zero = self._losses(Planned(Condition.ZERO, "", "", ()))
        none = self._losses(Planned(Condition.NO_LATENTS, "", "", ()))
        real = self._losses(Planned(Condition.REAL_LATENTS, "", "", ()))
        before = self._before(point)
        others = {
            "real_latents": real,
            "zero": zero,
            "no_latents": none,
            "set_zeroed": self._losses(
                point._replace(condition=Condition.SET_ZEROED, calibration="")
            ),
            "before": None if before is None else _as_stored(before[1].losses),
        }
        seed, documents = self.study.seed, self.documents
        return {
            "effective_contexts": finite(
                statistics.effective_contexts(losses - untouched, documents)
            ),
            "against": {
                name: fields(statistics.compare(losses, other, documents, seed=seed))
                for name, other in others.items()
                if other is not None and name != str(point.condition)
            },
            "recovered": {
                name: fields(statistics.recovered(losses, worst, real, documents, seed=seed))
                for name, worst in (("no_latents", none), ("zero", zero))
                if worst is not None and real is not None
            },
        }


def _as_known(spliced: Splice, point: RewritePoint) -> Known:
    return Known(spliced, _as_stored(point.losses), np.array(point.kls, dtype=float))


def _as_stored(losses: ArrayLike) -> NDArray[np.float64]:
    """Losses rounded as the table rounds them, so that equal ones differ by nothing."""
    return np.asarray(losses, dtype=np.float32).astype(np.float64)


def _comparable_parent(session: Session, rewrite: Rewrite) -> Rewrite | None:
    """The rewrite that this one repeats, if its figures can be taken over."""
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    if (
        parent is None
        or parent.context_ids != rewrite.context_ids
        or parent.seed != rewrite.seed
        or parent.simulator_id != rewrite.simulator_id
        or parent.code_version != rewrite.code_version
    ):
        return None
    return parent
