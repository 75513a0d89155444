"""The database session of a request, and rows as plain data."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, TypeVarTuple

from anyio import CancelScope
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import ARRAY, ColumnElement, CursorResult, Select, func
from sqlalchemy.orm import Session

from models import Base
from models.database import new_session

Columns = TypeVarTuple("Columns")


async def _session(request: Request) -> AsyncIterator[Session]:
    # Making one asks the database nothing, so it needs no thread. Closing one that has written
    # does, and is done even when the browser has gone.
    reads = request.method in {"GET", "HEAD"}
    session = new_session(reads=reads)
    try:
        yield session
    finally:
        if reads or not session.in_transaction():
            session.close()
        else:
            with CancelScope(shield=True):
                await run_in_threadpool(session.close)


# Closed before the answer is sent, so that a stream of events holds no connection.
Database = Annotated[Session, Depends(_session, scope="function")]


def read(
    session: Session, query: Select[*Columns], values: Mapping[str, Any] | None = None
) -> CursorResult[*Columns]:
    """What a query of columns finds, in the session's transaction.

    ``session.execute`` gives the same rows, and takes a third longer to ask whether there are
    objects among them. Statements that every page makes are read with this.
    """
    session.flush()
    return session.connection().execute(query, values)


def array_of(query: Select[*tuple[Any, ...]]) -> ColumnElement[list[Any]]:
    """All that a query of one column finds, as one value of another: a statement less to make."""
    column = query.selected_columns[0]
    return func.array(query.scalar_subquery(), type_=ARRAY(column.type))


def columns(row: Base) -> dict[str, Any]:
    """The columns of a row by name, to be shown with what is not stored."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
