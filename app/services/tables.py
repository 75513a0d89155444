"""Rows as a table, to take away."""

import csv
import io
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel

Row = TypeVar("Row", bound=BaseModel)


def as_csv(columns: type[Row], rows: Iterable[Row]) -> str:
    """A table with a column for each field of a model; what is not defined is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns.model_fields))
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return file.getvalue()
