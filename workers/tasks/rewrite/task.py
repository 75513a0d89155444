"""Measure the loss of the layer with more and more of its latents rewritten."""

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from interp.vocabulary import Protocol
from jobs.events import publish
from jobs.params import RewriteParams
from models import Job, Study
from models import Rewrite as RewriteRow
from workers.task import Done, Task, Unit
from workers.tasks.rewrite.measurement import Measurement
from workers.tasks.rewrite.orderings import make_rewrite
from workers.tasks.rewrite.points import BASELINES, measured, points

AT_ONCE = {Protocol.WHOLE: 4, Protocol.PAPER: 64}
"""Points measured in one unit of work, some seconds long. More points share more of the model below
the hookpoint, and of the tree above it. Under ``paper`` that is nearly all of the work."""


class Rewrite(Task):
    """Measures every point of a rewrite that is not there yet: a block of points is a unit."""

    counts = "points"

    def __init__(self, asked: RewriteParams) -> None:
        self.asked = asked
        self._measurement: Measurement | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Make the row of the rewrite, once: its sets and orders stay as they are then."""
        if "rewrite_id" in job.state:
            return
        rewrite = make_rewrite(session, self.asked, study)
        if rewrite is not None:
            job.state = {**job.state, "rewrite_id": rewrite.id}
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Blocks of points, or none if there is no rewrite, because nothing has changed."""
        rewrite = _row(session, job)
        if rewrite is None:
            return []
        planned, there = points(rewrite), measured(session, rewrite)
        return [
            Unit("points", start, stop, sum(point.key in there for point in planned[start:stop]))
            for start, stop in _blocks(len(planned), AT_ONCE[Protocol(rewrite.protocol)])
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Measure what of a block is not there."""
        rewrite = _row(session, job)
        assert rewrite is not None, "or there is no unit"
        if self._measurement is None:
            self._measurement = Measurement(session, study, rewrite)
        measurement, there = self._measurement, measured(session, rewrite)
        block = points(rewrite)[unit.start : unit.stop]
        new = [point for point in block if point.key not in there]
        measurement.measure([point for point in new if not measurement.copy(point)])
        session.commit()
        publish(study.id, "chart")
        return Done(f"{rewrite.protocol} protocol")

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Let it stand as the newest rewrite."""
        rewrite = _row(session, job)
        if rewrite is None:
            return
        rewrite.finished = True
        session.commit()
        publish(study.id, "chart")


def _row(session: Session, job: Job) -> RewriteRow | None:
    number = job.state.get("rewrite_id")
    return session.get_one(RewriteRow, number) if number else None


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Baselines alone, since all others are compared with them. Then so many points at once."""
    yield 0, len(BASELINES)
    for start in range(len(BASELINES), count, size):
        yield start, min(start + size, count)
