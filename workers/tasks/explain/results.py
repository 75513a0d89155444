"""Results of another tool: their explanations become versions of their latents."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.exchange.origin import Found, Refused, Results, StudyCoder
from interp.exchange.registry import ORIGINS
from interp.explain.files import A_LATENT
from jobs.events import publish
from models import Explanation, Job, Latent, Study
from models.folders import check_path
from workers.task import Done, Unit, remember
from workers.tasks.explain.add import add, latents_of, rounds
from workers.tasks.explain.explainer import Explainer

BLOCK = 256
"""Items that are read in one unit of work."""
TOO_MANY = f"Its latent has {A_LATENT:,} explanations already."


class _Numbered(NamedTuple):
    """An explanation, and its number in the results."""

    number: int
    found: Found


class ReadResults(Explainer):
    """Adds the explanations of results that the study does not have yet. Some items are a unit.

    The study has one if a version of the same latent has its text and its author. Explanations of
    one latent become versions in the order of the results, and the last one is current. What cannot
    become an explanation is counted as missing, with its reason.
    """

    counts = "explanations"
    _results: Results | None = None
    _items: Iterator[Found | Refused] = iter(())
    """The items from ``_at`` on: units come in their order, so that files are read once a turn."""
    _at: int | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Hold the results against the coder, and count them.

        Raises:
            InputError: They are no such results, of another coder, or damaged.
        """
        results = self._opened(session, study)
        if "survey" not in job.state:
            says = {"survey": results.survey(), "says": results.says, "read": 0}
            remember(session, job, **says, failures={}, taken=0)
            session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Runs of items. Those that were read are done, whatever became of them."""
        total, read = job.state["survey"]["total"], job.state["read"]
        return [
            Unit("items", start, stop, min(max(read - start, 0), stop - start))
            for start in range(0, total, BLOCK)
            for stop in [min(start + BLOCK, total)]
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Add the explanations of some items that the study does not have."""
        state = job.state
        start = state["read"]
        refused: Counter[str] = Counter()
        found: list[_Numbered] = []
        for number, item in enumerate(self._read(session, job, study, unit.stop), start):
            if isinstance(item, Refused):
                refused[item.why] += 1
            else:
                found.append(_Numbered(number, item))
        new = self._new(session, study, found, refused)
        for block in rounds(new, lambda one: one.found.latent):
            ids = latents_of(session, study, [one.found.latent for one in block])
            add(session, [self._row(job, one, *ids[one.found.latent]) for one in block])
        taken = unit.stop - start - refused.total()
        remember(
            session,
            job,
            read=unit.stop,
            taken=state["taken"] + taken,
            failures=dict(Counter(state["failures"]) + refused),
        )
        session.commit()
        publish(study.id, "latents")
        return Done(f"reading {self._path.name}", refused.total())

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """What follows.

        Raises:
            InputError: There is not one explanation that could be taken.
        """
        if not job.state["taken"]:
            failures: Counter[str] = Counter(job.state["failures"])
            reasons = " ".join(f"{n:,}: {why}" for why, n in failures.most_common(3))
            raise InputError(f"Nothing in {self._path} became an explanation. {reasons}")
        super().finish(session, job, study)

    @property
    def _path(self) -> Path:
        return Path(self.asked.path or "")

    def _opened(self, session: Session, study: Study) -> Results:
        if self._results is None:
            try:
                check_path(str(self._path))  # again, as links and settings may have changed
            except ValueError as error:
                raise InputError(str(error)) from None
            most = session.scalar(select(func.max(Latent.index)).filter_by(study_id=study.id))
            coder = StudyCoder(study.model, study.hookpoint, 0 if most is None else most + 1)
            origin = ORIGINS.named(self.asked.method)
            self._results = origin.open(
                self._path, coder, anyway=self.asked.anyway, may_read=check_path
            )
        return self._results

    def _read(self, session: Session, job: Job, study: Study, stop: int) -> list[Found | Refused]:
        """The items from the first unread one on, up to a number."""
        start = job.state["read"]
        if self._at != start:
            results = self._opened(session, study)
            self._items = results.items(job.state["survey"], start)
        items = list(islice(self._items, stop - start))
        self._at = stop
        return items

    def _new(
        self, session: Session, study: Study, found: list[_Numbered], refused: Counter[str]
    ) -> list[_Numbered]:
        """The explanations that the study does not have; notes those that are too many."""
        query = select(Latent.index, Explanation.author, Explanation.text)
        query = query.join(Latent, Latent.id == Explanation.latent_id).where(
            Latent.study_id == study.id,
            Latent.index.in_({one.found.latent for one in found}),
        )
        there: set[tuple[int, str, str]] = set()
        versions: Counter[int] = Counter()
        for index, author, text in session.execute(query):
            there.add((index, author, text))
            versions[index] += 1
        new = []
        for one in found:
            latent, text = one.found.latent, one.found.text
            if (key := (latent, self.asked.method, text)) in there:
                continue
            if versions[latent] >= A_LATENT:
                refused[TOO_MANY] += 1
                continue
            there.add(key)
            versions[latent] += 1
            new.append(one)
        return new

    def _row(self, job: Job, one: _Numbered, latent_id: int, current: int | None) -> dict[str, Any]:
        found = one.found
        return {
            "latent_id": latent_id,
            "text": found.text,
            "author_kind": found.author_kind,
            "author": self.asked.method,
            "prompt_version": found.prompt_version,
            "parent_id": current,
            "details": {
                **found.details,
                "origin": self.asked.method,
                "imported_by": job.created_by,
                "import": job.id,
                "line": one.number,
            },
        }
