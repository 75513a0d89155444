"""The rows of files, one after another: lines of JSON, CSV and Parquet, packed or not.

What makes the rest of a file unreadable, such as a broken line, is an error with its place.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from interp.corpus.source import UNPACKED, kind, shown
from interp.errors import InputError

LONGEST = 1 << 28
"""Bytes of a line or of a text file. What is longer is hardly one document, and would fill the
memory."""
# The process has one limit, of 128 KiB, which long documents exceed; whoever needs more raises it.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
ROWS = 1000
"""Rows of a Parquet file in memory at once."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The encodings that a file's first bytes tell."""


class Row(NamedTuple):
    """A row of a table."""

    where: str
    """Such as ``corpus.jsonl, line 3``."""
    value: object
    """What stands in the column of the text; None if nothing does."""


def rows_of(path: Path, column: str) -> Iterator[Row]:
    """The rows of a file, see :data:`interp.corpus.source.KINDS`.

    Raises:
        InputError: It is damaged, or has no such column.
    """
    read = {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    return read[kind(path) or ""](path, column)


def whole_text(path: Path) -> str:
    """The text of a file, with the line ends of Unix.

    Raises:
        InputError: It is damaged, too long, or not in an encoding that is known.
    """
    with _opened(path) as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise InputError(
            f"{shown(path)} is longer than {LONGEST >> 20} MiB. Put each document in a file of "
            "its own."
        )
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding, "ignore")
        where = f"{shown(path)}, line {before.count(chr(10)) + 1}"
        raise InputError(_not_text(where, encoding)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def no_column(where: str, column: str, there: Iterable[str]) -> InputError:
    """The error for a column that is not there."""
    names = list(islice(there, 21))
    has = ", ".join(map(repr, names[:20])) + (" and more" if len(names) > 20 else "")
    how = f" Name the one with the text: ?column={names[0]}." if names else ""
    return InputError(f"{where} has no column {column!r}. It has {has or 'none'}.{how}")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked.

    Raises:
        InputError: It is no whole file of its compression.
    """
    compression = UNPACKED.get(path.suffix.lower())
    with path.open("rb") as file:
        if compression is None:
            yield file
            return
        try:
            with pa.input_stream(file, compression=compression) as stream:
                yield io.BufferedReader(stream)
        except OSError as error:
            raise InputError(
                f"{shown(path)} cannot be unpacked to its end: {error}. It may be cut short: "
                "fetch it again."
            ) from None


def _encoding(content: bytes) -> str:
    return next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")


def _not_text(where: str, encoding: str) -> str:
    name = encoding.upper().removesuffix("-SIG")
    return f"{where}, is not {name} text. Convert the file to UTF-8 first."


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1 on."""
    with _opened(path) as file:
        peeked = file.peek(4)  # type: ignore[attr-defined]
        encoding = _encoding(peeked[:4])
        # Lines of UTF-8 are decoded one by one, so that an error knows its line.
        in_bytes = encoding.startswith("utf-8")
        reader = file if in_bytes else io.TextIOWrapper(file, encoding, newline="\n")
        number = 0
        try:
            while line := reader.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise InputError(
                        f"{shown(path)}, line {number}, is longer than {LONGEST >> 20} MiB. Put "
                        "one document on each line."
                    )
                # The mark of UTF-8 may stand before the first line.
                codec = "utf-8-sig" if number == 1 else "utf-8"
                yield number, line.decode(codec) if isinstance(line, bytes) else line
        except UnicodeDecodeError:
            at = number if in_bytes else number + 1
            raise InputError(_not_text(f"{shown(path)}, line {at}", encoding)) from None


def _json_rows(path: Path, column: str) -> Iterator[Row]:
    first = True
    for number, line in _lines(path):
        if line.strip():
            where = f"{shown(path)}, line {number}"
            row = _object(line, where)
            if first and column not in row:
                raise no_column(f"{where},", column, row)
            first = False
            yield Row(where, row.get(column))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        # Numbers of other fields may be of any size. As floats, none is too long to be read.
        row = json.loads(line, parse_int=float)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}, is not JSON: {error.msg} at character {error.pos + 1}."
        ) from None
    except RecursionError:
        raise InputError(f"{where}, is nested too deeply to be read.") from None
    if not isinstance(row, dict):
        raise InputError(f'{where}, is no JSON object, such as {{"text": "…"}}.')
    return row


def _csv_rows(path: Path, column: str) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    place: int | None = None
    where = f"{shown(path)}, line 1"
    try:
        for row in reader:
            if not row:  # a blank line
                pass
            elif place is not None:
                yield Row(where, row[place] if place < len(row) else None)
            elif column in row:
                place = row.index(column)
            else:
                raise no_column(f"{where},", column, row)
            where = f"{shown(path)}, line {reader.line_num + 1}"
    except csv.Error as error:
        raise InputError(f"{where}, begins a row that is not CSV: {error}.") from None


def _parquet_rows(path: Path, column: str) -> Iterator[Row]:
    number = 0
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise no_column(shown(path), column, names)
            for batch in file.iter_batches(ROWS, columns=[column]):
                for cell in batch.column(column):
                    number += 1
                    yield Row(f"{shown(path)}, row {number}", cell.as_py())
    except UnicodeDecodeError:
        raise InputError(_not_text(f"{shown(path)}, row {number}", "utf-8")) from None
    except (pa.ArrowException, OSError) as error:
        after = f" after row {number}" if number else ""
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"{shown(path)} cannot be read as a Parquet file{after}: {reason}. It may be cut "
            "short: fetch it again."
        ) from None
