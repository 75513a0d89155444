"""The connection to PostgreSQL."""

from functools import cache
from select import POLLIN, poll
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

from models.settings import get_settings

CONNECTIONS = 4
"""How many a process keeps open, and answers at once. One that is opened for an answer costs more
than the answer; with more of them answers take turns, and all come late."""
OPTIONS = (
    # A search by meaning looks at so many explanations at once, and goes on until enough of them
    # are current ones, and match.
    "hnsw.ef_search=100",
    "hnsw.iterative_scan=strict_order",
    # What is read is in memory, or on a disk that reads any page as fast as the next one.
    "random_page_cost=1.1",
    # Answers take milliseconds: to start processes that help takes longer than they save.
    "max_parallel_workers_per_gather=0",
)


@cache
def get_engine() -> Engine:
    """The engine of this process; its connections are for reading, which most are used for.

    Raises:
        RuntimeError: ``DATABASE_URL`` is not set.
    """
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("DATABASE_URL is not set; start with `palimpsest up`, or set it.")
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        pool_size=CONNECTIONS,
        connect_args={"options": " ".join(f"-c {option}" for option in OPTIONS)},
    )
    event.listen(engine, "checkout", _still_there)
    return engine


def _still_there(connection: Any, *_: Any) -> None:
    """Have another connection made where the server has closed this one since it was last used.

    It has if there is something to be read, as nothing was asked. To ask it (``pool_pre_ping``)
    would be one more round trip before every answer.
    """
    said = poll()
    said.register(connection.fileno(), POLLIN)
    if said.poll(0):
        raise DisconnectionError("PostgreSQL has closed the connection.")


@cache
def _writing(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="READ COMMITTED")


def new_session(*, reads: bool = False) -> Session:
    """A session on the engine of this process; use it as a context manager.

    Args:
        reads: It only reads: each statement is a transaction of its own. That saves two round
            trips, and the rollback at the end, at which psycopg forgets what it has prepared.
    """
    engine = get_engine()
    return Session(engine if reads else _writing(engine), expire_on_commit=False)
