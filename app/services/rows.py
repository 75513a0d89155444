"""Rows as plain data, read with as little work as can be."""

from collections.abc import Mapping
from typing import Any, TypeVarTuple

from sqlalchemy import ARRAY, ColumnElement, CursorResult, Select, func
from sqlalchemy.orm import Session

from models import Base

Columns = TypeVarTuple("Columns")


def read(
    session: Session, query: Select[*Columns], values: Mapping[str, Any] | None = None
) -> CursorResult[*Columns]:
    """The rows of a query of columns, in the session's transaction.

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
