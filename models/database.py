"""The connections to PostgreSQL."""

from functools import cache
from select import POLLIN, poll
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

from models.settings import get_settings

CONNECTIONS = 4
"""How many a process keeps open, and answers at once. One that is opened for an answer costs more
than the answer; with more of them answers take turns, and all come late."""
CONNECT_SECONDS = 10
"""How long PostgreSQL may take to accept a connection."""
KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 15, "keepalives_count": 4}
"""Seconds and probes. A firewall that drops silent connections lets these live, and a connection
to a machine that is gone ends in two minutes. A job's lock stands in a connection that may have
nothing to say for hours."""
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


class Purpose(NamedTuple):
    """The purpose of a pool of connections."""

    name: str
    """``application_name``: PostgreSQL shows it in ``pg_stat_activity``."""
    connections: int
    """How many the pool keeps open."""
    more: int
    """How many it opens beyond that, for as long as they are used."""
    idle_seconds: int
    """PostgreSQL ends a transaction in which nothing happens for so long; 0: it never does."""


PROGRAM = Purpose("palimpsest", CONNECTIONS, 10, 0)
"""Workers and commands. A job's transaction is idle while its models run."""


def get_engine() -> Engine:
    """The engine of workers and commands, as :func:`engine_of` makes it."""
    return engine_of(PROGRAM)


@cache
def engine_of(purpose: Purpose) -> Engine:
    """The engine of this process for a purpose, with a pool of its own.

    Its connections are for reading, which most are used for.

    Raises:
        RuntimeError: ``DATABASE_URL`` is not set.
    """
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("DATABASE_URL is not set; start with `palimpsest up`, or set it.")
    options = (
        *OPTIONS,
        f"idle_in_transaction_session_timeout={purpose.idle_seconds}s",
        # A server's own limit must not end the connection that holds a running job's lock.
        "idle_session_timeout=0",
    )
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        pool_size=purpose.connections,
        max_overflow=purpose.more,
        connect_args={
            "application_name": purpose.name,
            "connect_timeout": CONNECT_SECONDS,
            **KEEPALIVES,
            "options": " ".join(f"-c {option}" for option in options),
        },
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


def new_session(*, reads: bool = False, purpose: Purpose = PROGRAM) -> Session:
    """A session on an engine of this process. Use it as a context manager.

    Args:
        reads: True if it only reads. Then each statement is a transaction of its own. That saves
            two round trips, and the rollback at the end, at which psycopg forgets what it has
            prepared.
        purpose: Whose connections it uses.
    """
    engine = engine_of(purpose)
    return Session(engine if reads else _writing(engine), expire_on_commit=False)
