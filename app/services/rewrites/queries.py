"""Rewrites in the database, and what a page shows of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.explanations.queries import authors
from app.services.jobs.queries import need_ended
from app.services.rewrites.schemas import PointStatistics
from app.services.rewrites.views import (
    ALL_CONTEXTS,
    BASELINES,
    BEFORE,
    ISOTONIC,
    LINES,
    NEWEST,
    ZEROED,
    Line,
    View,
)
from app.services.schemas import Comparison
from interp.vocabulary import Breadth, Condition, ContextSet, Protocol
from jobs.events import publish as tell
from jobs.params import RewriteParams
from jobs.queue import enqueue
from models import Context, Explanation, Job, Latent, Rewrite, RewritePoint, Study
from models.base import among
from models.rewrite import has_main_point


class Row(NamedTuple):
    """A row of the table of figures."""

    name: str
    point: RewritePoint
    statistics: PointStatistics


@dataclass
class Results:
    """A rewrite with its points, as the study's page shows it."""

    rewrite: Rewrite
    points: list[RewritePoint]
    """On the contexts of one breadth."""
    breadth: Breadth = Breadth.PANEL
    all_contexts: "Results | None" = None
    """The main point with its baselines on all contexts of the evaluate set, once they are measured
    there too."""
    newest: "Results | None" = None
    """A newer rewrite, if this one is finished and of the newer one only the main point counts yet.
    """
    before: list[RewritePoint] = field(default_factory=list)
    """The isotonic line before the last edit, as far as it was measured, and in the same way. Empty
    if anything but an edit by a person came last."""
    edited: list[int] = field(default_factory=list)
    """Indices of the latents that the last edit is of."""

    def baseline(self, condition: str) -> RewritePoint | None:
        """The point of a condition without a set, if it is measured yet."""
        return next((p for p in self.points if p.condition == condition and not p.count), None)

    def line(self, line: Line, ordering: str = "score") -> list[RewritePoint]:
        """Points of a line in one ordering, smallest set first.

        The whole set is the same in every ordering and measured once: there all orderings end.
        """
        if line is BEFORE:
            return self.before
        if line is NEWEST:
            main = self.newest.main if self.newest else None
            return [main] if main else []
        if line is ALL_CONTEXTS:
            wide = self.headline.all_contexts
            return [wide.main] if wide and wide.main else []
        whole = self.rewrite.counts[-1]
        found = [
            point
            for point in self.points
            if (point.condition, point.calibration) == (line.condition, line.calibration)
            and point.count
            and (point.ordering == ordering or (point.ordering == "score" and point.count == whole))
        ]
        only_the_end = all(point.ordering != ordering for point in found)
        return [] if only_the_end else sorted(found, key=lambda point: point.count)

    @property
    def main(self) -> RewritePoint | None:
        """The main point: the whole set rewritten with isotonic calibration."""
        line = self.line(ISOTONIC)
        return line[-1] if line and line[-1].count == self.rewrite.counts[-1] else None

    @property
    def headline(self) -> "Results":
        """The rewrite that the newest main point belongs to."""
        return self.newest or self

    @property
    def widest(self) -> "Results":
        """The points of the headline on the most contexts: on all, once it is measured there."""
        return self.headline.all_contexts or self.headline

    @property
    def contexts(self) -> int:
        """The number of contexts that the points are measured on."""
        return len(self.points[0].losses) if self.points else len(self.rewrite.context_ids)

    @property
    def largest(self) -> RewritePoint | None:
        """The largest set rewritten with isotonic calibration, as far as it is measured."""
        return next(reversed(self.line(ISOTONIC)), None)

    @property
    def top(self) -> RewritePoint | None:
        """The same of the headline, on the most contexts."""
        return self.widest.largest

    @property
    def zeroed(self) -> RewritePoint | None:
        """The same latents as in the largest set, zeroed."""
        top = self.top
        if top is None:
            return None
        return next(
            (
                p
                for p in self.widest.points
                if (p.condition, p.ordering, p.count) == ("set_zeroed", top.ordering, top.count)
            ),
            None,
        )

    def single(self, condition: Condition) -> RewritePoint | None:
        """The point of a condition that is measured once, if it is there."""
        return next((point for point in self.points if point.condition == condition), None)

    def over_later(self, condition: Condition) -> Comparison | None:
        """The main point's loss minus that of a baseline that was measured after it."""
        point = self.single(condition)
        found = statistics_of(point).against.rewritten if point else None
        return found.reversed() if found else None

    def on_all_contexts(self) -> list[tuple[str, RewritePoint]]:
        """The points of the headline on all contexts, by name. The untouched model has none."""
        wide = self.headline.all_contexts
        names = {(str(condition), ""): condition.label for condition in BASELINES}
        names |= {(str(line.condition), line.calibration): line.name for line in (ZEROED, ISOTONIC)}
        return [
            (f"{names[point.condition, point.calibration]}, {ALL_CONTEXTS.name}", point)
            for point in (wide.points if wide else [])
            if (point.condition, point.calibration) in names
        ]

    def table(self, view: View) -> list[Row]:
        """All points of a view: the baselines, then its lines from the largest set down, then what
        is measured on all contexts."""
        baselines = [(one.label, self.baseline(one)) for one in BASELINES]
        rows = [(name, point) for name, point in baselines if point is not None]
        for line in LINES[view]:
            if line is ALL_CONTEXTS:
                rows += self.on_all_contexts()
                continue
            for ordering in line.orderings:
                points = reversed(self.line(line, ordering))
                rows += [(line.called(ordering), point) for point in points]
        return [Row(name, point, statistics_of(point)) for name, point in rows]


def statistics_of(point: RewritePoint) -> PointStatistics:
    """The stored comparisons of a point with others."""
    return PointStatistics.model_validate(point.statistics)


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
    """Points of a rewrite on the contexts of either breadth, as far as they are measured."""
    query = select(RewritePoint).where(RewritePoint.rewrite_id == rewrite.id)
    return list(session.scalars(query.order_by(RewritePoint.id)))


def results_of(session: Session, rewrite: Rewrite) -> Results:
    """A rewrite with its points."""
    points = list_points(session, rewrite)
    panel, every = (
        [point for point in points if point.breadth == breadth]
        for breadth in (Breadth.PANEL, Breadth.ALL)
    )
    wide = Results(rewrite, every, Breadth.ALL)
    # Its baselines may have been taken over before the rest is measured.
    return Results(rewrite, panel, all_contexts=wide if wide.main else None)


def all_context_ids(session: Session, study: Study, rewrite: Rewrite) -> list[int]:
    """The contexts of points on all contexts, in their order: the panel, and then the others."""
    query = select(Context.id).where(
        Context.study_id == study.id, Context.set == str(ContextSet.EVALUATE)
    )
    panel = set(rewrite.context_ids)
    others = [i for i in session.scalars(query.order_by(Context.index)) if i not in panel]
    return [*rewrite.context_ids, *others]


def count_documents(session: Session, study: Study, results: Results) -> int:
    """The number of documents that the contexts of some results are of."""
    query = select(func.count(Context.document.distinct()))
    if results.breadth == Breadth.PANEL:
        query = query.where(among(Context.id, results.rewrite.context_ids))
    else:
        query = query.where(Context.study_id == study.id, Context.set == str(ContextSet.EVALUATE))
    return session.scalar(query) or 0


def measured_authors(session: Session, study: Study, protocol: Protocol) -> list[str]:
    """Whose explanations have been rewritten with the study's simulator under a protocol; empty
    for the current ones of each latent."""
    query = select(Rewrite.author).where(
        Rewrite.study_id == study.id,
        Rewrite.simulator_id == study.simulator_id,
        Rewrite.protocol == protocol,
    )
    return sorted(session.scalars(query.distinct()))


def latest_results(
    session: Session, study: Study, protocol: Protocol, author: str = ""
) -> Results | None:
    """The newest finished rewrite by the study's simulator, with the main point of a newer one if
    there is any.

    Before any is finished: the newest one that has a main point, with its points so far.
    """
    of = (
        select(Rewrite)
        .where(
            Rewrite.study_id == study.id,
            Rewrite.simulator_id == study.simulator_id,
            Rewrite.protocol == protocol,
            Rewrite.author == author,
        )
        .order_by(Rewrite.id.desc())
        .limit(1)
    )
    newest = session.scalar(of.where(Rewrite.finished | has_main_point()))
    if newest is None:
        return None
    finished = newest if newest.finished else session.scalar(of.where(Rewrite.finished))
    last = _with_last_edit(session, newest)
    if finished is None or finished is newest:
        return last
    whole = results_of(session, finished)
    whole.newest = last
    whole.edited = last.edited
    if newest.parent_id != finished.id:  # or its line would be drawn twice
        whole.before = last.before
    return whole


def _with_last_edit(session: Session, rewrite: Rewrite) -> Results:
    """A rewrite with its points, and those before the edit that it came from."""
    results = results_of(session, rewrite)
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    if parent is not None and _comparable(rewrite, parent):
        rows = session.execute(
            select(Latent.index.label("latent"), Explanation.author_kind, Explanation.imported_by)
            .join(Explanation, Explanation.latent_id == Latent.id)
            .where(among(Explanation.id, rewrite.edited_ids))
            .order_by(Latent.index)
        ).all()
        if rows and all(row.author_kind == "person" and not row.imported_by for row in rows):
            results.before = results_of(session, parent).line(ISOTONIC)
            results.edited = [row.latent for row in rows]
    return results


def _comparable(rewrite: Rewrite, parent: Rewrite) -> bool:
    """True if only the edit can cause a difference between the two."""
    return (rewrite.context_ids, rewrite.code_version) == (parent.context_ids, parent.code_version)


def measure(session: Session, study: Study, protocol: Protocol, author: str, user: str) -> Job:
    """Queue a rewrite of all latents that are simulated. Commits the session.

    Args:
        author: Whose explanations to take; empty for the current ones.

    Raises:
        Conflict: The study has no simulator yet, or no explanation by the author.
    """
    if study.simulator_id is None:
        raise Conflict(
            f"Study {study.slug} has no simulator yet: its activations are still being collected."
        )
    if author and author not in authors(session, study):
        raise Conflict(f"Nobody named {author} wrote an explanation of study {study.slug}.")
    order = RewriteParams(
        protocol=protocol, simulator_id=study.simulator_id, author=author, repeat=False
    )
    return enqueue(session, study, order, by=user)


def delete_rewrite(session: Session, rewrite: Rewrite) -> None:
    """Delete a rewrite with its points. Commits the session.

    Points that later rewrites have taken over from it are theirs, and stay.

    Raises:
        Conflict: Its job waits or runs.
    """
    of = [column["rewrite_id"].as_integer() == rewrite.id for column in (Job.state, Job.params)]
    for job_id in session.scalars(select(Job.id).where(Job.study_id == rewrite.study_id, or_(*of))):
        need_ended(session, job_id)
    session.delete(rewrite)
    session.commit()
    tell(rewrite.study_id, "chart", 0)
