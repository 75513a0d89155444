"""The database session of a request, and rows as plain data."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.orm import Session

from models import Base
from models.database import new_session


def _session() -> Iterator[Session]:
    with new_session() as session:
        yield session


# Closed before the answer is sent, so that a stream of events holds no connection.
Database = Annotated[Session, Depends(_session, scope="function")]


def columns(row: Base) -> dict[str, Any]:
    """The columns of a row by name, to be shown with what is not stored."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
