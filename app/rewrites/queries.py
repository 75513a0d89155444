"""Rewrites in the database, and what their points say in words."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from models import Rewrite, RewritePoint, Study

CALIBRATIONS = ("isotonic", "quantile", "linear")
"""Best guess under squared error first."""


class Difference(NamedTuple):
    """Mean of paired differences over contexts with its 95% interval, in nats."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the first condition costs less: ``yes``, ``no`` or ``cannot tell``."""
        return "yes" if self.high < 0 else "no" if self.low > 0 else "cannot tell"


@dataclass
class Results:
    """A rewrite with its points, as the study's page shows it."""

    rewrite: Rewrite
    points: list[RewritePoint]
    before: list[RewritePoint] = field(default_factory=list)
    """The isotonic line of the parent."""

    def point(self, condition: str, calibration: str = "", count: int = 0) -> RewritePoint | None:
        key = condition, calibration, count
        return next((p for p in self.points if (p.condition, p.calibration, p.count) == key), None)

    @property
    def missing(self) -> int:
        """Missing values in the largest set."""
        return max((point.missing for point in self.points), default=0)

    @property
    def headline(self) -> RewritePoint | None:
        """The largest set rewritten, under the best calibration that is measured."""
        for calibration in CALIBRATIONS:
            line = [
                p
                for p in self.points
                if p.condition == "rewritten" and p.calibration == calibration
            ]
            if line:
                return max(line, key=lambda point: point.count)
        return None

    @property
    def zeroed(self) -> RewritePoint | None:
        """The same latents as in the headline, zeroed."""
        top = self.headline
        return self.point("set_zeroed", count=top.count) if top else None

    @property
    def against_zeroed(self) -> Difference | None:
        """Rewriting minus zeroing the same latents."""
        top, zeroed = self.headline, self.zeroed
        return paired_difference(top, zeroed, self.rewrite.seed) if top and zeroed else None

    @property
    def table(self) -> list[RewritePoint]:
        """All points but the untouched model's, in the order of the table."""
        order = ["zero", "mean", "no_latents", "real_latents", "set_zeroed", "rewritten"]
        return sorted(
            (point for point in self.points if point.condition != "untouched"),
            key=lambda p: (order.index(p.condition), *_rank(p), -p.count),
        )


def _rank(point: RewritePoint) -> tuple[int]:
    return (CALIBRATIONS.index(point.calibration) if point.calibration in CALIBRATIONS else -1,)


def paired_difference(a: RewritePoint, b: RewritePoint, seed: int) -> Difference | None:
    """Loss of one point minus another's, context by context, with a bootstrap 95% interval.

    Returns:
        None where there are too few contexts for an interval.
    """
    differences = np.array(a.losses) - np.array(b.losses)
    if len(differences) < 2:
        return None
    interval = bootstrap(
        (differences,),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Difference(float(differences.mean()), float(interval.low), float(interval.high))


def list_rewrites(session: Session, study: Study) -> list[Rewrite]:
    """Rewrites of a study, newest first."""
    query = select(Rewrite).where(Rewrite.study_id == study.id).order_by(Rewrite.id.desc())
    return list(session.scalars(query))


def get_rewrite(session: Session, study: Study, rewrite_id: int) -> Rewrite:
    """One rewrite of a study.

    Raises:
        NotFound: The study has none of this number.
    """
    rewrite = session.get(Rewrite, rewrite_id)
    if rewrite is None or rewrite.study_id != study.id:
        raise NotFound(f"There is no rewrite {rewrite_id} in study {study.slug}.")
    return rewrite


def list_points(session: Session, rewrite: Rewrite) -> list[RewritePoint]:
    """Points of a rewrite, as far as they are measured."""
    query = select(RewritePoint).where(RewritePoint.rewrite_id == rewrite.id)
    return list(session.scalars(query.order_by(RewritePoint.id)))


def latest_results(session: Session, study: Study) -> Results | None:
    """The newest rewrite that has a point of a rewritten layer, with its parent's line."""
    rewrite = session.scalar(
        select(Rewrite)
        .where(
            Rewrite.study_id == study.id,
            Rewrite.finished
            | exists().where(
                RewritePoint.rewrite_id == Rewrite.id, RewritePoint.condition == "rewritten"
            ),
        )
        .order_by(Rewrite.id.desc())
        .limit(1)
    )
    if rewrite is None:
        return None
    before = []
    if rewrite.parent_id is not None:
        query = select(RewritePoint).where(
            RewritePoint.rewrite_id == rewrite.parent_id,
            RewritePoint.condition == "rewritten",
            RewritePoint.calibration == "isotonic",
        )
        before = list(session.scalars(query.order_by(RewritePoint.count)))
    return Results(rewrite, list_points(session, rewrite), before)
