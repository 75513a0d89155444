"""The rows of a data set, of the Hugging Face hub or of a folder that is laid out as one.

It is read as a stream: what is not asked for is not fetched.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interp.corpus.rows import Row, no_column
from interp.corpus.source import SPLIT, Source
from interp.errors import InputError
from interp.hub import hub_reason


def data_set_rows(source: Source, column: str) -> Iterator[Row]:
    """The rows of a split of a data set, one after another.

    Raises:
        InputError: It cannot be reached or read, or has no such part or column.
    """
    place = str(source.path.resolve()) if not source.on_hub else source.place
    try:
        rows = _stream(source, place)
        names = rows.column_names or list(next(iter(rows), {column: None}))
        if column not in names:
            raise no_column(f"The data set {source.place}", column, names)
        # Other columns, such as images, are not decoded.
        for number, row in enumerate(rows.select_columns([column])):
            yield Row(f"{source.place}, row {number + 1}", row[column])
    except InputError:
        raise
    except Exception as error:  # the library raises whatever the many formats raise
        or_folder = " If you mean a folder, give its whole path." if source.on_hub else ""
        raise InputError(
            f"The data set {source.place} cannot be read: {hub_reason(error)}{or_folder}"
        ) from error


def _stream(source: Source, place: str) -> Any:
    from datasets import load_dataset_builder  # takes a second

    builder = load_dataset_builder(place, source.config, revision=source.revision)
    split = source.split or SPLIT
    files = builder.config.data_files or {}
    _check_inside(source, place, [file for some in files.values() for file in some])
    return builder.as_streaming_dataset(split)


def _check_inside(source: Source, place: str, files: list[str]) -> None:
    """Refuse a card that names files elsewhere, such as those of the machine that reads it.

    Raises:
        InputError: It does.
    """
    for file in files:
        at = file.rpartition("::")[2]
        if source.on_hub:
            whole = f"hf://datasets/{place}".lower()
            inside = at.lower().startswith((f"{whole}@", f"{whole}/")) and "/../" not in at
        else:
            inside = "://" not in at and Path(at).resolve().is_relative_to(place)
        if not inside:
            raise InputError(
                f"The data set {source.place} names files that are not in it, such as {at}. Give "
                "the files themselves."
            )
