"""Save the points of a rewrite with their statistics, and find those of earlier ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from interp.scoring import statistics
from interp.vocabulary import Breadth, Condition
from models import Rewrite, RewritePoint, Study
from workers.resources import coder_of
from workers.tasks.rewrite.points import Planned, find, main_points
from workers.tasks.rows import fields, finite

AFTER_MAIN = (Condition.RESAMPLE, Condition.NOISE, Condition.REWRITTEN_ERROR_KEPT)
"""Conditions that the main point is compared with, and that are measured after it. A point is
written once, so they hold the comparison."""


class Record:
    """The measured points of one rewrite, on the panel or on all contexts of the evaluate set.

    A point is compared with those of the same contexts only.
    """

    def __init__(
        self,
        session: Session,
        study: Study,
        rewrite: Rewrite,
        parent: Rewrite | None,
        documents: Sequence[str],
        breadth: Breadth = Breadth.PANEL,
    ) -> None:
        """
        Args:
            parent: See :func:`parent_of`.
            documents: Of each of the contexts.
        """
        self.session, self.study, self.rewrite, self.parent = session, study, rewrite, parent
        self.documents, self.breadth = list(documents), breadth

    def find(self, point: Planned) -> RewritePoint | None:
        """A point, if it is there."""
        return find(self.session, self.rewrite, point, self.breadth)

    def same_place(
        self, point: Planned, earlier: Rewrite | None
    ) -> tuple[Planned, RewritePoint] | None:
        """The point of an earlier rewrite that stands where this one does, if it was measured.

        The whole set stands where the whole set did, though an edit may have added a latent to it.
        """
        if earlier is None:
            return None
        count = len(point.explanation_ids)
        if count == self.rewrite.counts[-1]:
            count = earlier.counts[-1]
        order = earlier.orderings.get(point.ordering, [])
        before = point._replace(explanation_ids=tuple(order[:count]))
        found = find(self.session, earlier, before, self.breadth)
        return (before, found) if found is not None and found.kls is not None else None

    def copy(self, point: Planned, found: RewritePoint) -> None:
        """Add a point that is the same as an earlier rewrite's to the session."""
        own = ("before", "rewritten")
        against = {k: v for k, v in found.statistics["against"].items() if k not in own}
        against |= self._compared({"rewritten": self._main(point)}, as_stored(found.losses))
        same = ("fraction", "missing", "losses", "increase", "low", "high", "kls", "kl")
        self._add(
            point,
            **{name: getattr(found, name) for name in (*same, "kl_low", "kl_high")},
            statistics={**found.statistics, "against": against},
            copied_from=found.id,
        )

    def save(
        self,
        point: Planned,
        losses: NDArray[np.float64],
        kls: NDArray[np.float64],
        *,
        rewritten: int,
        missing: int,
    ) -> None:
        """Add a point with its statistics to the session.

        Args:
            losses: Of each context, in nats; so are ``kls``.
            rewritten: Latents of the set that have any value.
            missing: Values of the set that are missing.
        """
        losses = as_stored(losses)
        seed = self.study.seed
        untouched = self._losses(Planned(Condition.UNTOUCHED, "", "", ()))
        baseline = losses if untouched is None else untouched
        increase = statistics.mean_difference(losses, baseline, self.documents, seed=seed)
        kl = statistics.mean(kls, self.documents, seed=seed)
        self._add(
            point,
            fraction=rewritten / coder_of(self.study).num_latents,
            missing=missing,
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

    def _add(self, point: Planned, **figures: Any) -> None:
        self.session.add(
            RewritePoint(
                rewrite_id=self.rewrite.id,
                breadth=self.breadth,
                condition=str(point.condition),
                calibration=point.calibration,
                ordering=point.ordering,
                count=len(point.explanation_ids),
                **figures,
            )
        )
        self.session.flush()

    def _losses(self, point: Planned) -> NDArray[np.float64] | None:
        found = self.find(point)
        return None if found is None else as_stored(found.losses)

    def _main(self, point: Planned) -> NDArray[np.float64] | None:
        """The losses of the main point, for one that is measured after it."""
        if point.condition not in AFTER_MAIN:
            return None
        return self._losses(main_points(self.rewrite)[-1])

    def _compared(
        self, others: dict[str, NDArray[np.float64] | None], losses: NDArray[np.float64]
    ) -> dict[str, object]:
        """How losses compare with others, as far as these are there."""
        return {
            name: fields(statistics.compare(losses, other, self.documents, seed=self.study.seed))
            for name, other in others.items()
            if other is not None
        }

    def _statistics(
        self, point: Planned, losses: NDArray[np.float64], untouched: NDArray[np.float64]
    ) -> dict[str, object]:
        """Comparisons of a point with the others, see ``RewritePoint.statistics``."""
        zero = self._losses(Planned(Condition.ZERO, "", "", ()))
        none = self._losses(Planned(Condition.NO_LATENTS, "", "", ()))
        mean = self._losses(Planned(Condition.MEAN, "", "", ()))
        real = self._losses(Planned(Condition.REAL_LATENTS, "", "", ()))
        before = self.same_place(point, self.parent)
        error_kept = point.condition == Condition.REWRITTEN_ERROR_KEPT
        zeroed = Condition.SET_ZEROED_ERROR_KEPT if error_kept else Condition.SET_ZEROED
        others = {
            "real_latents": real,
            "zero": zero,
            "no_latents": none,
            "mean": mean,
            "set_zeroed": self._losses(point._replace(condition=zeroed, calibration="")),
            "rewritten": self._main(point),
            "before": None if before is None else as_stored(before[1].losses),
        }
        seed, documents = self.study.seed, self.documents
        return {
            "effective_contexts": finite(
                statistics.effective_contexts(losses - untouched, documents)
            ),
            "against": self._compared(
                {name: other for name, other in others.items() if name != str(point.condition)},
                losses,
            ),
            "recovered": {
                name: fields(statistics.recovered(losses, worst, real, documents, seed=seed))
                for name, worst in (("no_latents", none), ("zero", zero))
                if worst is not None and real is not None
            },
        }


def as_stored(losses: ArrayLike) -> NDArray[np.float64]:
    """Losses rounded as the table rounds them, so that equal ones differ by nothing."""
    return np.asarray(losses, dtype=np.float32).astype(np.float64)


def parent_of(session: Session, rewrite: Rewrite) -> Rewrite | None:
    """The rewrite that one repeats, if its figures can be taken over."""
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    return parent if parent is not None and _comparable(rewrite, parent) else None


def last(session: Session, rewrite: Rewrite, *which: ColumnElement[bool]) -> Rewrite | None:
    """The last rewrite before this one whose figures can be taken over, of some."""
    same = ("study_id", "simulator_id", "protocol", "author")
    found = session.scalar(
        select(Rewrite)
        .filter_by(**{name: getattr(rewrite, name) for name in same})
        .where(Rewrite.id < rewrite.id, *which)
        .order_by(Rewrite.id.desc())
        .limit(1)
    )
    return found if found is not None and _comparable(rewrite, found) else None


def _comparable(rewrite: Rewrite, earlier: Rewrite) -> bool:
    """True if an earlier rewrite's figures can be taken over."""
    same = ("context_ids", "seed", "simulator_id", "code_version")
    return all(getattr(earlier, name) == getattr(rewrite, name) for name in same)
