"""The runner's view of a kind of job: a plan of units, and the work on one of them."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from sqlalchemy.orm import Session

from models import Job, Study


def remember(session: Session, job: Job, **values: Any) -> None:
    """Note values in the state of a job. What others have noted there meanwhile stays, such as that
    the job is needless. The caller commits."""
    job.state = {**_state(session, job), **values}


def forget(session: Session, job: Job, name: str) -> None:
    """Remove a value from the state of a job, likewise."""
    job.state = {key: value for key, value in _state(session, job).items() if key != name}


def _state(session: Session, job: Job) -> dict[str, Any]:
    """As it is now. Nobody else changes it before the transaction ends."""
    session.flush()  # or what was noted in it would be lost
    session.refresh(job, ["state"], with_for_update=True)
    return job.state


class Unit(NamedTuple):
    """A piece of a job's work: a run of things of one name, such as some of its latents.

    A job that is cut short loses the unit in hand, and gives way to others between two units, so a
    unit takes seconds.
    """

    name: str
    start: int
    """The first of the things, and the one after the last."""
    stop: int
    done: int = 0
    """The number of them that are done already."""

    @property
    def key(self) -> str:
        """Its identity within the job, the same for every worker and at any time."""
        return f"{self.name} {self.start}"

    @property
    def size(self) -> int:
        """Its part of the job's progress."""
        return self.stop - self.start


def runs(count: int, size: int) -> Iterator[range]:
    """So many things in runs of one size; the last one may be shorter."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


class Done(NamedTuple):
    """The outcome of a unit that is done and committed."""

    message: str = ""
    missing: int = 0
    """Values that came out missing in it."""
    tokens_read: int = 0
    tokens_written: int = 0
    """Tokens that language models read and wrote for it."""
    part: int | None = None
    """The number of its things that are done so far, if some are left. Then the runner goes on with
    the unit."""


class Task:
    """A job at work, made anew for each of its turns: it may keep what several units need.

    Nothing but what is stored decides what is left to do, so a job may change its worker at any
    time. The work comes in four steps. Each can be repeated, and changes nothing the second time.
    """

    counts: ClassVar[str]
    """The things that the sizes of units count, in words."""

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Resolve what the plan rests on, such as which explanations are meant, and store it."""

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """All units in their order, each with how much of it is done.

        It reads only what is stored. The units are the same ones each time.
        """
        raise NotImplementedError

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Do the rest of a unit, and commit it."""
        raise NotImplementedError

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """End the work when all units are done, and queue what follows (:mod:`jobs.chain`)."""
