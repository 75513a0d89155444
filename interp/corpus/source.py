"""How a corpus is named: where it is, and behind a question mark how it is read.

``corpus.jsonl?column=body`` and ``HuggingFaceFW/fineweb?config=sample-10BT&split=train`` are two.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from interp.errors import InputError

SOTU = "sotu"
"""The State of the Union addresses, which come with the program."""
COLUMN, SPLIT = "text", "train"
"""Where text is if nobody says."""
FIRST_DOCUMENTS = 10_000
"""Documents that are read of a data set if nobody says: some have more than a disk."""
KINDS = (".txt", ".jsonl", ".csv", ".parquet")
UNPACKED = {".gz": "gzip", ".zst": "zstd"}
"""The compression of files whose names end so."""
PACKED = (".bz2", ".xz", ".zip", ".7z", ".tar", ".tgz", ".lz4", ".br")
"""What is to be unpacked first."""
GIVE = (
    f"Give a folder or a file of the kinds {', '.join(KINDS)}, a data set of the hub such as "
    f"HuggingFaceFW/fineweb, or {SOTU!r}."
)
_DATA_SET = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


class Source(NamedTuple):
    """What the name of a corpus says."""

    place: str
    """``sotu``, a path, or the name of a data set."""
    column: str | None = None
    """The field or column that holds the text."""
    config: str | None = None
    """A part of a data set, as its card calls it. This and the next two are of data sets only."""
    split: str | None = None
    revision: str | None = None
    documents: int | None = None
    """Read no more than so many documents."""
    template: bool = True
    """Whether the tokens of a chat template are analysed as all others are."""

    @property
    def path(self) -> Path:
        """The place as a path."""
        try:
            return Path(self.place).expanduser()
        except RuntimeError:  # of a user who is not there
            return Path(self.place)

    @property
    def here(self) -> str | None:
        """The path that is read; None where no file that a person names is."""
        return None if self.place == SOTU or self.on_hub else self.place

    @property
    def on_hub(self) -> bool:
        """True if it is a data set's name. What is here goes before what is on the hub, and what
        ends as files do, such as ``models/a.gguf``, is one that is not here."""
        named = _DATA_SET.fullmatch(self.place) and ".." not in self.place
        of_file = self.path.suffix[1:].isalpha() or kind(self.path) is not None
        return bool(named) and not of_file and not os.path.exists(self.place)

    @property
    def data_set(self) -> bool:
        """True if it is read as a data set: one of the hub, or a folder that is laid out as one."""
        return self.on_hub or bool(self.config or self.split or self.revision)


OPTIONS = tuple(name for name in Source._fields if name != "place")


def source_of(name: str) -> Source:
    """Read the name of a corpus.

    Raises:
        InputError: What is behind its question mark is not understood.
    """
    place, options = _apart(name)
    if not options:
        return Source(place)
    given: dict[str, str] = {}
    for option in options.split("&"):
        key, _, value = option.partition("=")
        if key not in OPTIONS:
            raise InputError(
                f"The corpus {name!r} has the option {key!r} behind its question mark. There are "
                f"{', '.join(OPTIONS)}."
            )
        if key in given or not value:
            fault = "comes twice" if key in given else "has no value"
            raise InputError(f"The corpus {name!r}: the option {key} {fault}.")
        given[key] = unquote(value)
    documents, template = given.pop("documents", None), given.pop("template", "yes")
    if documents is not None and not (documents.isdecimal() and int(documents)):
        raise InputError(f"The corpus {name!r}: documents must be a number from 1 on.")
    if template not in ("yes", "no"):
        raise InputError(f"The corpus {name!r}: template must be yes or no.")
    source = Source(
        place,
        documents=int(documents) if documents else None,
        template=template == "yes",
        **given,
    )
    _check_fits(name, source, given)
    return source


def relocated(name: str, place: str) -> str:
    """The same corpus, with another spelling of where it is."""
    _, options = _apart(name)
    return f"{place}?{options}" if options else place


def shown(path: object) -> str:
    """A path as text that can be stored: bytes in it that are not UTF-8 as ``\\xe9``."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def kind(path: Path) -> str | None:
    """The kind of a file, without its compression, such as ``.jsonl``; None for other files."""
    if path.suffix.lower() in UNPACKED:
        path = path.with_suffix("")
    suffix = path.suffix.lower()
    return suffix if suffix in KINDS else None


def _apart(name: str) -> tuple[str, str]:
    """Where a corpus is, and its options. A question mark without options belongs to a path."""
    place, mark, options = name.rpartition("?")
    return (place, options) if mark and "=" in options else (name, "")


def _check_fits(name: str, source: Source, given: Mapping[str, str]) -> None:
    """Refuse options that mean nothing there, rather than ignore them."""
    alone = source.place == SOTU or kind(source.path) == ".txt"
    if alone and given:
        raise InputError(f"The corpus {name!r} has no {min(given)}: it is text as it stands.")
    of_data_sets = {*given} - {"column"}
    if of_data_sets and kind(source.path) is not None:
        raise InputError(
            f"The corpus {name!r} is a file: {min(of_data_sets)} is of data sets. Leave it out."
        )
