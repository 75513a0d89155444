"""Measure the loss of the layer with more and more of its latents rewritten, on the panel."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.simulate.registry import SIMULATORS
from interp.vocabulary import Breadth, Protocol
from jobs import chain
from jobs.events import publish
from jobs.params import RewriteParams
from jobs.queue import follow
from models import Job, Simulator, Study
from models import Rewrite as RewriteRow
from models.rewrite import has_main_point
from workers.task import Done, Task, Unit, forget, remember
from workers.tasks.rewrite.all_contexts import AllContexts
from workers.tasks.rewrite.measurement import Measurement
from workers.tasks.rewrite.orderings import make_rewrite, row_of
from workers.tasks.rewrite.points import (
    BASELINES,
    MAIN,
    Planned,
    main_points,
    measured,
    points,
)

AT_ONCE = {Protocol.WHOLE: 4, Protocol.PAPER: 64}
"""Points measured in one unit of work, some seconds long. More points share more of the model below
the hookpoint, and of the tree above it. Under ``paper`` that is nearly all of the work."""


class Rewrite(Task):
    """Measures every point of a rewrite that is not there yet, or the main point and its baselines
    only. A block of points is a unit."""

    counts = "points"

    def __init__(self, asked: RewriteParams) -> None:
        self.asked = asked
        self._measurement: Measurement | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Make the row of the rewrite, once: its sets and orders stay as they are then."""
        if "rewrite_id" in job.state and not self._outdated(session, job):
            return
        rewrite = make_rewrite(session, self.asked, study)
        if rewrite is not None:
            remember(session, job, rewrite_id=rewrite.id)
        elif "rewrite_id" in job.state:
            forget(session, job, "rewrite_id")
        session.commit()

    def _outdated(self, session: Session, job: Job) -> bool:
        """True if an edit's job goes on after a newer rewrite was measured: that lacks the edit, as
        it repeats a measured one."""
        rewrite = row_of(session, job)
        if rewrite is None or not self.asked.edited or not _has_newer(session, rewrite):
            return False
        if main_points(rewrite)[-1].key in measured(session, rewrite):
            return False
        session.delete(rewrite)
        return True

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Blocks of points, or none if there is no rewrite, because nothing has changed."""
        rewrite = row_of(session, job)
        if rewrite is None:
            return []
        planned, there = self._points(rewrite), measured(session, rewrite)
        return [
            Unit("points", start, stop, sum(point.key in there for point in planned[start:stop]))
            for start, stop in _blocks(len(planned), AT_ONCE[Protocol(rewrite.protocol)])
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Measure what of a block is not there."""
        rewrite = row_of(session, job)
        assert rewrite is not None, "or there is no unit"
        if self._measurement is None:
            self._measurement = Measurement(session, study, rewrite, join=self.asked.main_point)
        measurement, there = self._measurement, measured(session, rewrite)
        block = self._points(rewrite)[unit.start : unit.stop]
        new = [point for point in block if point.key not in there]
        measurement.measure([point for point in new if not measurement.copy(point)])
        session.commit()
        publish(study.id, "chart")
        return Done(f"{rewrite.protocol} protocol")

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Queue the rest, or let the rewrite stand as the newest one."""
        rewrite = row_of(session, job)
        if rewrite is None:
            return
        if self.asked.main_point:
            # One that another worker made meanwhile lacks what is new here. So a job of the same
            # joins both, and does nothing if the newer one has it.
            overtaken = _has_newer(session, rewrite)
            rest = chain.after(self.asked, job.state)
            follow(session, job, "last", [self.asked] if overtaken else rest)
            return
        rewrite.finished = True
        remember(session, job, beyond=_goes_beyond(session, study, rewrite))
        session.commit()
        publish(study.id, "chart")
        follow(session, job, "last", chain.after(self.asked, job.state))

    def _points(self, rewrite: RewriteRow) -> Sequence[Planned]:
        return main_points(rewrite) if self.asked.main_point else points(rewrite)


def task_of(asked: RewriteParams) -> Task:
    """The task of a rewrite, on the panel or on all contexts."""
    return AllContexts(asked) if asked.breadth == Breadth.ALL else Rewrite(asked)


def _goes_beyond(session: Session, study: Study, rewrite: RewriteRow) -> bool:
    """True if a rewrite is to be measured on more contexts than the panel: there are more, and its
    simulator is quick enough to simulate all of its explanations on them without storing that."""
    method = SIMULATORS.get(session.get_one(Simulator, rewrite.simulator_id).method)
    return (
        rewrite.protocol == Protocol.WHOLE
        and len(rewrite.context_ids) < study.contexts_evaluate
        and method is not None
        and method.instant
    )


def _has_newer(session: Session, rewrite: RewriteRow) -> bool:
    """True if the main point of a newer rewrite is measured: its rest is the one to measure."""
    same = ("study_id", "simulator_id", "protocol", "author")
    newer = select(RewriteRow.id).filter_by(**{name: getattr(rewrite, name) for name in same})
    newer = newer.where(RewriteRow.id > rewrite.id, has_main_point())
    return session.scalar(newer.limit(1)) is not None


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """The baselines, since all others are compared with them, and the main point, since somebody
    waits for it, one by one: each takes seconds. Then so many points at once."""
    main = len(BASELINES) + len(MAIN)
    for start in range(main):
        yield start, start + 1
    for start in range(main, count, size):
        yield start, min(start + size, count)
