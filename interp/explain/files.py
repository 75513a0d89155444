"""Explanations that were written elsewhere: JSON lines, CSV or Parquet.

A file is read row by row, and whatever is in it, what is held of it at once is bounded.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from interp import cleaning
from interp.errors import InputError
from interp.explain import parquet
from interp.validation import message

ENDINGS = (".jsonl", ".csv", ".parquet")
MOST = parquet.MOST
"""Explanations in a file, at most."""
A_LATENT = 1000
"""Explanations of one latent in a file, at most."""
LINE = 2**20
"""Bytes of a line of JSON and characters of a row of CSV, at most."""
# The process has one limit, and other readers raise it: a row has a bound of its own.
csv.field_size_limit(max(csv.field_size_limit(), LINE))
NAME = 200
"""Characters of an author's or a prompt's name."""


def _name(name: str) -> str:
    return cleaning.name(name, NAME, empty="Fill in this field.")


Name = Annotated[str, AfterValidator(_name)]


class Written(BaseModel):
    """One explanation of a file. Other fields are ignored."""

    latent: int = Field(ge=0, lt=2**31)
    text: Annotated[str, AfterValidator(cleaning.explanation)]
    author: Name
    author_kind: Literal["person", "model"] = "model"
    prompt_version: Name | None = None


class Line(NamedTuple):
    """An explanation, and where in its file it stands."""

    where: str
    """Such as ``line 7``; for Parquet, ``row 7``."""
    written: Written


def read(file: IO[bytes], name: str, *, author: str | None = None) -> Iterator[Line]:
    """The explanations of a file, one after another, in its order.

    Args:
        file: Binary and seekable.
        name: Its name, whose ending says what it is.
        author: The author of those that name none. Without it, each must name one.

    Raises:
        InputError: The file cannot be read, a line of it is no explanation, or it has too many.
    """
    shown = cleaning.shown(name)
    match PurePath(name).suffix.lower():
        case ".jsonl":
            raw = _json_lines(file, shown)
        case ".csv":
            raw = _csv(file, shown)
        case ".parquet":
            raw = _parquet(file, shown)
        case _:
            raise InputError(f"{shown} is none of {', '.join(ENDINGS)}: its name ends otherwise.")
    of_latent: Counter[int] = Counter()
    number = 0
    for number, (where, value) in enumerate(raw, 1):
        if number > MOST:
            raise InputError(f"{shown} has more than {MOST:,} explanations: use parts of it.")
        written = _written(value, author, f"{shown}, {where}")
        of_latent[written.latent] += 1
        if of_latent[written.latent] > A_LATENT:
            raise InputError(
                f"{shown}, {where}, is one explanation too many of latent {written.latent}: a file "
                f"has at most {A_LATENT:,} of each."
            )
        yield Line(where, written)
    if not number:
        raise InputError(f"{shown} has no explanation in it.")


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
        said = f"{field}: {message(first)}" if field else message(first)
        raise InputError(f"{where}, is no explanation: {said}") from None


def _json_lines(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    number = 0
    while line := file.readline(LINE + 1):
        number += 1
        where = f"line {number}"
        if len(line) > LINE:
            raise InputError(f"{name}, {where}, is longer than {LINE:,} bytes.")
        if not line.strip():
            continue
        try:
            # Editors of Windows begin a file with a mark that is no part of its text.
            yield where, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"{name}, {where}, cannot be read: it is not UTF-8.") from None
        except (json.JSONDecodeError, RecursionError):
            raise InputError(f"{name}, {where}, is no JSON.") from None
        except ValueError:  # Python reads numbers of up to 4,300 digits
            raise InputError(f"{name}, {where}, has a number of too many digits.") from None


def _csv(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    stream = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = _RowLines(stream, name)
    rows = csv.DictReader(lines, strict=True)
    try:
        _columns(name, rows.fieldnames or ())
        for row in rows:
            lines.taken = 0
            if None in row:
                raise InputError(
                    f"{name}, line {rows.line_num}, has more fields than the first line names: "
                    "put a text with commas in quotes."
                )
            yield f"line {rows.line_num}", row
    except UnicodeDecodeError:
        after = f", after line {rows.line_num}" if rows.line_num else ""
        raise InputError(f"{name} cannot be read: it is not UTF-8{after}.") from None
    except csv.Error as error:
        where = f"after line {rows.line_num}" if rows.line_num else "at its first line"
        raise InputError(f"{name} cannot be read {where}: {error}.") from None
    finally:
        if not file.closed:
            stream.detach()  # it would close the file, which is not ours


class _RowLines:
    """The lines of a CSV file; refuses a row that goes on and on, within a line or over many."""

    def __init__(self, stream: io.TextIOWrapper, name: str) -> None:
        self.stream, self.name = stream, name
        self.taken = 0
        """Characters of the row in hand."""

    def __iter__(self) -> Iterator[str]:
        while line := self.stream.readline(LINE + 1):
            self.taken += len(line)
            if self.taken > LINE:
                raise InputError(f"{self.name} has a row of more than {LINE:,} characters.")
            yield line


def _parquet(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(parquet.rows(file, name, list(Written.model_fields)), 1):
        yield f"row {number}", row


def _columns(name: str, names: Any) -> None:
    for needed in ("latent", "text"):
        if needed not in names:
            raise InputError(f"{name} has no column “{needed}”. It needs latent and text.")
