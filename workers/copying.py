"""Write many rows at once with COPY, which takes a fraction of the time of single inserts."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql
from sqlalchemy import Dialect, inspect, text
from sqlalchemy.dialects.postgresql import JSONB
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
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, written))
    )
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in rows:
            copy.write_row([stored(getattr(row, key)) for key, stored in written.values()])


def _stored(kind: Any, dialect: Dialect) -> Callable[[Any], Any]:
    """What psycopg is given for a value of a column."""
    if isinstance(kind, JSONB):
        return json.dumps
    return kind.bind_processor(dialect) or (lambda value: value)
