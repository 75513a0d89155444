"""Explanations that were written elsewhere become versions of their latents."""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.files import Line, Written, read
from jobs.events import publish
from models import Explanation, Job, Latent, Study
from workers.task import Done, Unit, remember
from workers.tasks.explain.add import add, latents_of, rounds
from workers.tasks.explain.explainer import Explainer

BLOCK = 256
"""Explanations of the file that are added in one unit of work."""


class _Numbered(NamedTuple):
    """An explanation, and the number of its line."""

    number: int
    written: Written


class ReadFile(Explainer):
    """Adds the explanations of a file that the study does not have yet. Some lines are a unit.

    The study has one if a version of the same latent has its text and its author. A text that
    stands in the file twice becomes two versions. Versions of one latent keep their order.
    """

    counts = "explanations"
    _new: NDArray[np.bool_] | None = None
    """The lines with explanations that the study did not have when this was looked up."""
    _lines: Iterator[Line] = iter(())
    """The lines of the file from ``_at`` on: units come in its order, so that it is read once."""
    _at: int | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Read the whole file once, and see that every line is an explanation of a latent.

        Raises:
            InputError: A line is none, or is of a latent that the study does not have.
        """
        if "lines" in job.state:
            return
        known = set(session.scalars(select(Latent.index).where(Latent.study_id == study.id)))
        total = 0
        for line in _read(self._path):
            total += 1
            if line.written.latent not in known:
                raise InputError(
                    f"{self._path.name}, {line.where}, explains latent {line.written.latent}, "
                    "which the study has not."
                )
        remember(session, job, lines=total)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Runs of lines. Lines with an explanation that the study has are done."""
        new = self._find_new(session, job, study)
        return [
            Unit("lines", start, start + len(part), len(part) - int(part.sum()))
            for start in range(0, len(new), BLOCK)
            for part in [new[start : start + BLOCK]]
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Add the explanations of some lines that the study does not have."""
        new = self._find_new(session, job, study)
        lines = [
            _Numbered(number, line.written)
            for number, line in enumerate(self._read(unit), unit.start)
            if new[number]
        ]
        there = _added(session, job, study, lines)
        new_lines = [line for line in lines if line.number not in there]
        for block in rounds(new_lines, lambda line: line.written.latent):
            ids = latents_of(session, study, [line.written.latent for line in block])
            rows = [
                {
                    "latent_id": ids[written.latent][0],
                    "text": written.text,
                    "author_kind": written.author_kind,
                    "author": written.author,
                    "prompt_version": written.prompt_version,
                    "parent_id": ids[written.latent][1],
                    "details": {"imported_by": job.created_by, "import": job.id, "line": number},
                }
                for number, written in block
            ]
            add(session, rows)
        session.commit()
        publish(study.id, "latents")
        return Done(f"reading {self._path.name}")

    @property
    def _path(self) -> Path:
        return Path(self.asked.path or "")

    def _find_new(self, session: Session, job: Job, study: Study) -> NDArray[np.bool_]:
        """The lines with explanations that the study does not have."""
        if self._new is None:
            counted, own = _there(session, job, study)
            self._new = np.array(
                [
                    number not in own and not _take(counted, line.written)
                    for number, line in enumerate(_read(self._path))
                ],
                dtype=bool,
            )
        return self._new

    def _read(self, unit: Unit) -> list[Line]:
        """Some lines of the file."""
        if self._at is None or self._at > unit.start:
            self._lines, self._at = _read(self._path), 0
        lines = list(islice(self._lines, unit.start - self._at, unit.stop - self._at))
        self._at = unit.stop
        return lines


def _read(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            yield from read(file, path.name)
    except FileNotFoundError:
        raise InputError(
            f"The file of this import, {path.name}, is not kept any more: import it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def _added(session: Session, job: Job, study: Study, lines: Sequence[_Numbered]) -> set[int]:
    """Those of some lines that the job has added."""
    query = (
        select(Explanation.details["line"].as_integer())
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(
            Latent.study_id == study.id,
            Latent.index.in_([line.written.latent for line in lines]),
            # Compared as text: another explainer may write what it likes in its details.
            Explanation.details["import"].astext == str(job.id),
            Explanation.details.has_key("line"),
        )
    )
    return set(session.scalars(query))


def _there(session: Session, job: Job, study: Study) -> tuple[Counter[bytes], frozenset[int]]:
    """The study's count of each explanation, and the lines that this job has added. These do not
    count.

    The counts are by digest, because a study may have a million explanations.
    """
    query = select(Latent.index, Explanation.text, Explanation.author, Explanation.details)
    query = query.join(Latent, Latent.id == Explanation.latent_id)
    found = session.execute(
        query.where(Latent.study_id == study.id).execution_options(yield_per=BLOCK)
    )
    counted: Counter[bytes] = Counter()
    own = set()
    for index, text, author, details in found:
        if details.get("import") == job.id and "line" in details:
            own.add(details["line"])
        else:
            counted[_digest(index, text, author)] += 1
    return counted, frozenset(own)


def _digest(index: int, text: str, author: str) -> bytes:
    return blake2b(f"{index}\n{author}\n{text}".encode(), digest_size=16).digest()


def _take(there: Counter[bytes], written: Written) -> bool:
    """True if an explanation is there already. Each of these counts for one line of the file."""
    same = _digest(written.latent, written.text, written.author)
    if not there[same]:
        return False
    there[same] -= 1
    return True
