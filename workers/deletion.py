"""Remove the rows and files of what a person deleted.

The web server marks a study or a simulator as deleted, in one short transaction, and nothing shows
it any more. A worker does the rest, block by block: a large study has millions of rows. The marked
row goes last, so a removal that is cut short is found and gone on with when a worker starts.
"""

import logging
import shutil
from collections.abc import Iterator
from typing import Any, Literal

from celery.signals import worker_ready
from sqlalchemy import ColumnElement, delete, select, text, update
from sqlalchemy.orm import Session

from jobs.queue import REMOVE, celery, send_removal
from models import (
    Attribution,
    Context,
    Generation,
    Job,
    LanguageTest,
    Latent,
    LossEffect,
    Rewrite,
    Score,
    Sentence,
    Simulation,
    Simulator,
    Study,
)
from models.database import new_session
from models.settings import get_settings
from workers.turns import LOCK

log = logging.getLogger(__name__)

What = Literal["study", "simulator"]
TABLES: dict[What, type[Study] | type[Simulator]] = {"study": Study, "simulator": Simulator}
LOCKS: dict[What, int] = {"study": LOCK + 1, "simulator": LOCK + 2}
"""First keys of the advisory locks that keep two processes off one removal."""
AGAIN = 2.0
"""Seconds until a removal looks again whether a worker has left the jobs of the study."""
AFTER_ERROR = 60.0
"""Seconds until a removal that failed is tried again."""
BLOCKS: dict[What, list[tuple[Any, Any, int]]] = {
    "study": [
        (Attribution, Attribution.study_id, 1),
        (LanguageTest, LanguageTest.study_id, 1),
        (Latent, Latent.study_id, 256),
        (Rewrite, Rewrite.study_id, 8),
        (Context, Context.study_id, 2000),
        (Job, Job.study_id, 100),
    ],
    "simulator": [
        (Simulation, Simulation.simulator_id, 256),
        (Score, Score.simulator_id, 2000),
        (LossEffect, LossEffect.simulator_id, 256),
        (Attribution, Attribution.simulator_id, 1),
        (LanguageTest, LanguageTest.simulator_id, 1),
        (Rewrite, Rewrite.simulator_id, 8),
        (Generation, Generation.simulator_id, 256),
    ],
}
"""Tables with many rows, the column that refers to what is deleted, and the rows of one
transaction. Rows that refer to these rows go with them."""


@celery.task(name=REMOVE)
def remove_task(what: What, number: int) -> None:
    """Remove what was deleted, or come again later if a worker is still at one of its jobs."""
    try:
        with new_session() as session:
            for _ in remove(session, what, number):
                pass
    except StillAtWork:
        send_removal(what, number, delay=AGAIN)
    except Exception:
        log.exception("%s %s could not be removed; it is tried again", what, number)
        send_removal(what, number, delay=AFTER_ERROR)


class StillAtWork(Exception):
    """A worker has a unit of work in hand that belongs to what is deleted."""


def remove(session: Session, what: What, number: int) -> Iterator[int]:
    """Remove a study or simulator that is marked as deleted, and all that hangs on it.

    Commits after each block, and yields how many rows it had. Does nothing if it is not marked, or
    if another process is at it.

    Raises:
        StillAtWork: A worker has a unit of its jobs in hand. Nothing is removed before that ends.
    """
    lock = {"a": LOCKS[what], "b": number}
    with new_session() as holder:
        if not holder.scalar(text("SELECT pg_try_advisory_lock(:a, :b)"), lock):
            return
        try:
            yield from _remove(session, what, number)
        finally:
            holder.execute(text("SELECT pg_advisory_unlock(:a, :b)"), lock)


def _remove(session: Session, what: What, number: int) -> Iterator[int]:
    table = TABLES[what]
    marked = select(table.id).where(table.id == number, table.deleted_at.is_not(None))
    if session.scalar(marked) is None:
        return
    if what == "study" and _at_work(session, number):
        raise StillAtWork
    for rows, column, size in BLOCKS[what]:
        yield from _remove_rows(session, rows, column == number, size)
    if what == "study":
        _remove_files(number)
    else:
        own = Sentence.simulator_id == number
        session.execute(update(Sentence).where(own).values(simulator_id=None, simulated={}))
    session.execute(delete(table).where(table.id == number))
    session.commit()
    yield 1


def _remove_rows(
    session: Session, table: Any, which: ColumnElement[bool], size: int
) -> Iterator[int]:
    block = select(table.id).where(which).limit(size).scalar_subquery()
    statement = delete(table).where(table.id.in_(block))
    while removed := session.execute(
        statement, execution_options={"synchronize_session": False}
    ).rowcount:  # type: ignore[attr-defined]
        session.commit()
        yield removed
    session.commit()


def _at_work(session: Session, study_id: int) -> bool:
    """True if a worker holds the lock of a job of the study.

    Once no worker does, none will, because no worker takes up the jobs of a deleted study.
    """
    held = text(
        "SELECT EXISTS (SELECT FROM pg_locks l JOIN job ON job.id = l.objid::bigint"
        " WHERE l.locktype = 'advisory' AND l.classid = :lock AND l.granted"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND job.study_id = :study)"
    )
    return bool(session.scalar(held, {"lock": LOCK, "study": study_id}))


def _remove_files(study_id: int) -> None:
    folder = get_settings().study_files(study_id)
    if folder.exists():
        shutil.rmtree(folder)


@worker_ready.connect
def resume_removals(**_: object) -> None:
    """Go on with removals that were cut short, or whose message was lost."""
    with new_session() as session:
        for what, table in TABLES.items():
            for number in session.scalars(select(table.id).where(table.deleted_at.is_not(None))):
                send_removal(what, number)
