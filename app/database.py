"""The database session of a request."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from models.database import new_session


def _session() -> Iterator[Session]:
    with new_session() as session:
        yield session


# Closed before the answer is sent, so that a stream of events holds no connection.
Database = Annotated[Session, Depends(_session, scope="function")]
