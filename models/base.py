"""Types and functions that all tables share."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    REAL,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    any_,
    func,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, mapped_column
from sqlalchemy.types import TypeDecorator

Id = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Ids = Annotated[list[int], mapped_column(ARRAY(BigInteger))]
Floats = Annotated[list[float], mapped_column(ARRAY(REAL))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


class Matrix(TypeDecorator[NDArray[np.float32]]):
    """A matrix of numbers. NaN stands for a missing one.

    Stored as the number of columns (int4) and the rows (float4), all big-endian, as PostgreSQL's
    own functions send them. An array type takes ten times as long to write and to read.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(
        self, value: NDArray[np.floating] | None, dialect: Dialect
    ) -> bytes | None:
        if value is None:
            return None
        columns = np.array([value.shape[1]], ">i4").tobytes()
        return columns + np.ascontiguousarray(value, ">f4").tobytes()

    def process_result_value(
        self, value: bytes | None, dialect: Dialect
    ) -> NDArray[np.float32] | None:
        if value is None:
            return None
        (columns,) = np.frombuffer(value, ">i4", 1)
        return np.frombuffer(value, ">f4", offset=4).reshape(-1, columns).astype(np.float32)


class Base(DeclarativeBase):
    """Base of all tables. Constraint names follow one pattern, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        str: Text,
        int: Integer,
        float: REAL,
        datetime: DateTime(timezone=True),
    }


def among(
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None], numbers: Iterable[int]
) -> ColumnElement[bool]:
    """True if a column is one of some numbers, however many: ``in_`` sends each as a parameter of
    its own, and PostgreSQL takes 65,535 at most."""
    return column == any_(literal(list(numbers), ARRAY(column.type)))
