"""The connection to PostgreSQL."""

from functools import cache

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.orm import Session, sessionmaker

from models.settings import get_settings


@cache
def get_engine() -> Engine:
    """The engine of this process.

    Raises:
        RuntimeError: ``DATABASE_URL`` is not set.
    """
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("DATABASE_URL is not set; start with `palimpsest up`, or set it.")
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True)


def new_session() -> Session:
    """A session on the engine of this process; use it as a context manager."""
    return sessionmaker(get_engine(), expire_on_commit=False)()
