"""Explanations that were written elsewhere: JSON lines, CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, Annotated, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from interp.errors import InputError

ENDINGS = (".jsonl", ".csv", ".parquet")
MOST = 1_000_000
"""Explanations in a file, at most."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Written(BaseModel):
    """One explanation of a file. Whatever else stands there is not read."""

    latent: int = Field(ge=0, lt=2**31)
    text: str = Field(pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$", max_length=2000)
    author: Name
    author_kind: Literal["person", "model"] = "model"
    prompt_version: Name | None = None


class Line(NamedTuple):
    """An explanation, and where in its file it stands."""

    where: str
    """Such as ``line 7``; for Parquet, ``row 7``."""
    written: Written


def read(file: IO[bytes], name: str, *, author: str | None = None) -> list[Line]:
    """All explanations of a file, in its order.

    Args:
        file: Binary; can be sought in.
        name: Its name, whose ending says what it is.
        author: The person who wrote those that name no author; without it, each must name one.

    Raises:
        InputError: The file cannot be read, or one line of it is no explanation.
    """
    match PurePath(name).suffix.lower():
        case ".jsonl":
            raw = _json_lines(file, name)
        case ".csv":
            raw = _csv(file, name)
        case ".parquet":
            raw = _parquet(file, name)
        case _:
            raise InputError(f"{name} is none of {', '.join(ENDINGS)}: its name ends otherwise.")
    lines: list[Line] = []
    try:
        for where, value in raw:
            if len(lines) == MOST:
                raise InputError(f"{name} has more than {MOST:,} explanations: use parts of it.")
            lines.append(Line(where, _written(value, author, f"{name}, {where}")))
    except UnicodeDecodeError as error:
        raise InputError(f"{name} cannot be read: {error}.") from None
    except (csv.Error, pa.ArrowException, OSError) as error:
        raise InputError(f"{name} cannot be read: {' '.join(str(error).split())}.") from None
    if not lines:
        raise InputError(f"{name} has no explanation in it.")
    return lines


def _written(value: Any, author: str | None, where: str) -> Written:
    if isinstance(value, dict):
        # An empty field of CSV, and a null, say that there is none.
        value = {k: v for k, v in value.items() if v is not None and (v != "" or k == "text")}
        if "author" not in value and author is not None:
            value |= {"author": author, "author_kind": "person"}
    try:
        return Written.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        said = f"{field}: {first['msg']}" if field else first["msg"]
        raise InputError(f"{where}, is no explanation: {said}.") from None


def _json_lines(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line.decode())
        except (json.JSONDecodeError, RecursionError):
            raise InputError(f"{name}, line {number}, is no JSON.") from None


def _csv(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        rows = csv.DictReader(text, strict=True)
        _columns(name, rows.fieldnames or ())
        for row in rows:
            if None in row:
                raise InputError(
                    f"{name}, line {rows.line_num}, has more fields than the first line names: "
                    "put a text with commas in quotes."
                )
            yield f"line {rows.line_num}", row
    finally:
        text.detach()  # it would close the file, which is not ours


def _parquet(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    table = pq.ParquetFile(file)
    _columns(name, table.schema_arrow.names)
    wanted = [column for column in table.schema_arrow.names if column in Written.model_fields]
    number = 0
    for block in table.iter_batches(columns=wanted):
        for row in block.to_pylist():
            number += 1
            yield f"row {number}", row


def _columns(name: str, names: Any) -> None:
    for needed in ("latent", "text"):
        if needed not in names:
            raise InputError(f"{name} has no column “{needed}”. It needs latent and text.")
