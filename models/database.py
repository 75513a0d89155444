"""The connection to PostgreSQL."""

from functools import cache

from sqlalchemy import Engine, create_engine, make_url
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
    """The engine of this process.

    Raises:
        RuntimeError: ``DATABASE_URL`` is not set.
    """
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("DATABASE_URL is not set; start with `palimpsest up`, or set it.")
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        connect_args={"options": " ".join(f"-c {option}" for option in OPTIONS)},
    )


@cache
def _reading(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def new_session(*, reads: bool = False) -> Session:
    """A session on the engine of this process; use it as a context manager.

    Args:
        reads: It only reads: each statement is a transaction of its own. That saves two round
            trips, and the rollback at the end, at which psycopg forgets what it has prepared.
    """
    engine = get_engine()
    return Session(_reading(engine) if reads else engine, expire_on_commit=False)
