"""Write many rows at once with COPY, which takes a fraction of the time of single inserts."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import REAL, Dialect, inspect, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from models.base import Base


def copy_in(session: Session, rows: Sequence[Base]) -> None:
    """Write new rows of one table, in the transaction of the session, and give them their ids.

    Each row needs a value for every column that has no default on the server. The rows do not join
    the session.
    """
    if not rows:
        return
    mapper = inspect(type(rows[0]))
    table = type(rows[0]).__tablename__
    dialect = session.get_bind().dialect
    numbers = session.scalars(
        text(
            f"SELECT nextval(pg_get_serial_sequence('{table}', 'id'))"
            " FROM generate_series(1, :rows)"
        ),
        {"rows": len(rows)},
    )
    for row, number in zip(rows, numbers, strict=True):
        row.id = number  # type: ignore[attr-defined]
    written = {
        prop.columns[0].name: (prop.key, _stored(prop.columns[0].type, dialect))
        for prop in mapper.column_attrs
        if any(prop.key in inspect(row).dict for row in rows)
    }
    values = ([stored(getattr(row, key)) for key, stored in written.values()] for row in rows)
    copy_rows(session, type(rows[0]), list(written), values)


def _stored(kind: Any, dialect: Dialect) -> Callable[[Any], Any]:
    """What psycopg is given for a value of a column."""
    if isinstance(kind, JSONB):
        return json.dumps
    if isinstance(kind, ARRAY) and isinstance(kind.item_type, REAL):
        return lambda value: None if value is None else array_text(np.asarray(value, np.float32))
    return kind.bind_processor(dialect) or (lambda value: value)


def copy_rows(
    session: Session, table: type[Base], columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write the columns of new rows, in the transaction of the session.

    Args:
        rows: The values of the columns. An array may be text, as :func:`array_text` writes it: that
            takes a tenth of the time of a list.
    """
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.__tablename__), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in rows:
            copy.write_row(row)


def array_text(values: NDArray[np.float32]) -> str:
    """Numbers as PostgreSQL reads an array. Nine digits tell every float32 from its neighbours."""
    return "{" + ",".join([f"{v:.9g}" if v else "0" for v in values.tolist()]) + "}"
