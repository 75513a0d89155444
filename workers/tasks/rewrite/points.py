"""The points of a rewrite: which are measured, in which order, and which are there."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import Breadth, CalibrationMethod, Condition
from models import Rewrite, RewritePoint

BASELINES = [
    Condition.UNTOUCHED,
    Condition.REAL_LATENTS,
    Condition.ZERO,
    Condition.NO_LATENTS,
    Condition.MEAN,
]
SET_CONDITIONS = [
    (Condition.SET_ZEROED, ""),
    (Condition.REWRITTEN, CalibrationMethod.ISOTONIC),
    (Condition.REWRITTEN, CalibrationMethod.QUANTILE),
    (Condition.ORACLE_VALUES, CalibrationMethod.QUANTILE),
    (Condition.ORACLE_GATING, CalibrationMethod.ISOTONIC),
    (Condition.RANDOM_LATENTS, ""),
    (Condition.REWRITTEN, CalibrationMethod.LINEAR),
    (Condition.REWRITTEN, CalibrationMethod.NONE),
]


MAIN = SET_CONDITIONS[:2]
"""The conditions of the main point, and of the other orderings: the best calibration, and the same
latents zeroed."""
WHOLE_SET = [
    (Condition.NOISE, CalibrationMethod.ISOTONIC),
    (Condition.SET_ZEROED_ERROR_KEPT, ""),
    (Condition.REWRITTEN_ERROR_KEPT, CalibrationMethod.ISOTONIC),
]
"""Conditions that are measured with the whole set only: baselines of the main point."""


class Planned(NamedTuple):
    """A point to measure."""

    condition: Condition
    calibration: str
    ordering: str
    explanation_ids: tuple[int, ...]
    """The set, in the ordering's order. Empty for conditions without one."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Its identity within the rewrite, as in the table."""
        calibration, ordering = str(self.calibration), self.ordering
        return str(self.condition), calibration, ordering, len(self.explanation_ids)


def points(rewrite: Rewrite) -> list[Planned]:
    """Baselines first, then from the largest set down: what moves most is first.

    Baselines that take another look at the text, or are of the main point's error, come after it:
    somebody waits for that. The other orderings have the same whole set, so they are measured below
    it only, and only under the calibration that is the best guess.
    """
    orderings: dict[str, list[int]] = rewrite.orderings
    whole, *smaller = rewrite.counts[::-1]

    def of(
        conditions: Sequence[tuple[Condition, str]], count: int, ordering: str = "score"
    ) -> Iterator[Planned]:
        for condition, calibration in conditions:
            those = tuple(orderings[ordering][:count])
            yield Planned(condition, str(calibration), ordering, those)

    return [
        *(Planned(condition, "", "", ()) for condition in BASELINES),
        *of(SET_CONDITIONS, whole),
        Planned(Condition.RESAMPLE, "", "", ()),
        *of(WHOLE_SET, whole),
        *(point for count in smaller for point in of(SET_CONDITIONS, count)),
        *(
            point
            for ordering in orderings
            if ordering != "score"
            for count in smaller
            for point in of(MAIN, count, ordering)
        ),
    ]


def main_points(rewrite: Rewrite) -> list[Planned]:
    """The main point with its baselines, with which :func:`points` begins."""
    return points(rewrite)[: len(BASELINES) + len(MAIN)]


def measured(
    session: Session, rewrite: Rewrite, breadth: Breadth = Breadth.PANEL
) -> set[tuple[str, str, str, int]]:
    """The keys of the points that are there."""
    columns = (
        RewritePoint.condition,
        RewritePoint.calibration,
        RewritePoint.ordering,
        RewritePoint.count,
    )
    here = (RewritePoint.rewrite_id == rewrite.id, RewritePoint.breadth == breadth)
    rows = session.execute(select(*columns).where(*here))
    return {(condition, calibration, ordering, n) for condition, calibration, ordering, n in rows}


def find(
    session: Session, rewrite: Rewrite | None, point: Planned, breadth: Breadth = Breadth.PANEL
) -> RewritePoint | None:
    """A measured point of a rewrite, if it is there."""
    if rewrite is None:
        return None
    return session.scalar(
        select(RewritePoint).filter_by(
            rewrite_id=rewrite.id,
            breadth=breadth,
            condition=str(point.condition),
            calibration=point.calibration,
            ordering=point.ordering,
            count=len(point.explanation_ids),
        )
    )
