"""Inspections of sparse coders, for somebody who fills in the form of a study.

An inspection needs no study, so it is no job. It takes up to a minute, so it is no request
(:mod:`jobs.requests`) either. It goes through Redis and leaves no row:

1. The web server puts it on a list, with the state ``queued``.
2. A worker that collects takes it up, in a process of its own (:mod:`workers.inspections`). So it
   keeps neither jobs nor requests waiting. The process writes the state.
3. The web server looks at the state. As long as somebody looks, the inspection is wanted.
"""

from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from interp.coders.findings import CoderFiles, Measured, Question
from jobs.events import get_redis
from jobs.kinds import KINDS
from jobs.queue import unserved
from jobs.status import ACTIVE, Status

QUEUE = KINDS["collect"].queue
"""Workers of this queue take inspections up."""
LIST = "palimpsest:inspections"
"""The list in Redis with the inspections that wait, oldest first."""
MOST = 20
"""Inspections that wait at once."""
WANTED_SECONDS = 90
"""After so long without a look, nobody wants an inspection any more. A browser looks once a minute
while another tab is in front."""
SILENT_SECONDS = 60
"""After so long without a word of its worker, the state of a running inspection is forgotten."""
KEPT_SECONDS = 3600
"""After so long the state of an inspection that has ended is forgotten."""
TAKE_SECONDS = 2
"""The longest wait for the next inspection. It is less than that for an answer of Redis."""

NOBODY = (
    "No worker is running, so nothing can be measured. `palimpsest up` starts one. The study can "
    "be made all the same: its worker measures this later."
)
FULL = "Too many inspections wait already. Try again in a minute."


class NotTaken(Exception):
    """No worker will take the inspection up. The message says why, and what to do."""


class Inspection(BaseModel):
    """How far an inspection is, and what it has found."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: Question
    status: Status = Status.QUEUED
    step: str = Field(default="", description="What is done now.")
    done: int = 0
    total: int | None = Field(default=None, description="Parts of the step; null if not known.")
    files: CoderFiles | None = Field(
        default=None, description="What the coder's files say; null until they are read."
    )
    measured: Measured | None = Field(default=None, description="Null until it is finished.")
    problem: str = Field(default="", description="Why it failed.")


def begin(question: Question) -> Inspection:
    """Have a worker inspect a coder.

    Raises:
        NotTaken: No worker is running, or too many inspections wait.
    """
    if QUEUE in unserved():
        raise NotTaken(NOBODY)
    if get_redis().llen(LIST) >= MOST:
        raise NotTaken(FULL)
    inspection = Inspection(id=uuid4().hex, question=question)
    save(inspection)
    _want(inspection.id)
    get_redis().rpush(LIST, inspection.model_dump_json())
    return inspection


def look(id: str) -> Inspection | None:
    """The inspection, which is wanted from now on. None if there is none: it was given up, its
    worker stopped, or it ended long ago."""
    found = get_redis().get(_key(id))
    if found is None:
        return None
    inspection = Inspection.model_validate_json(found)
    if inspection.status in ACTIVE:
        _want(id)
    if inspection.status is Status.QUEUED:
        if QUEUE in unserved():
            return inspection.model_copy(update={"status": Status.FAILED, "problem": NOBODY})
        get_redis().expire(_key(id), KEPT_SECONDS)
    return inspection


def give_up(id: str) -> None:
    """Nobody wants the inspection any more. Its worker ends it within a second."""
    get_redis().delete(_key(id), _wanted(id))


# --- For the worker ---------------------------------------------------------------------------


def take() -> Inspection | None:
    """The inspection that has waited longest and is still wanted. None if none comes for a
    moment."""
    taken = get_redis().blpop([LIST], timeout=TAKE_SECONDS)
    if taken is None:
        return None
    inspection = Inspection.model_validate_json(taken[1])
    return inspection if keep(inspection.id) else None


def keep(id: str) -> bool:
    """Say that a worker is still at an inspection. False if nobody wants it any more."""
    if get_redis().exists(_wanted(id)):
        get_redis().expire(_key(id), SILENT_SECONDS)
        return True
    give_up(id)
    return False


def save(inspection: Inspection) -> None:
    """Write the state of an inspection."""
    seconds = SILENT_SECONDS if inspection.status is Status.RUNNING else KEPT_SECONDS
    get_redis().set(_key(inspection.id), inspection.model_dump_json(), ex=seconds)


def _want(id: str) -> None:
    get_redis().set(_wanted(id), "1", ex=WANTED_SECONDS)


def _key(id: str) -> str:
    return f"palimpsest:inspection:{id}"


def _wanted(id: str) -> str:
    return f"{_key(id)}:wanted"
