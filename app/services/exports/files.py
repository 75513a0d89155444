"""Tables written block by block, to a folder or into a zip that is sent while it is made."""

import io
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from app.services.exports.schemas import TableFormat
from app.services.exports.tables import Table

COMPRESSED = (".parquet", ".gz")
"""Endings of files that are compressed as they are."""
Block = Callable[[pa.RecordBatch], None]
Open = Callable[[str], Any]
"""Opens a file of an export by its name, as a context manager."""


@contextmanager
def writing(table: Table, form: TableFormat, out: IO[bytes]) -> Iterator[Block]:
    """A function that writes blocks of a table to a file."""
    match form:
        case "parquet":
            with pq.ParquetWriter(out, table.schema, compression="zstd") as parquet:
                yield parquet.write_batch
        case "jsonl":
            yield lambda block: _write_lines(table, block, out)
        case "csv":
            fields = [(c.name, _csv_type(c.type)) for c in table.columns]
            with pacsv.CSVWriter(out, pa.schema(fields)) as csv:
                yield lambda block: csv.write_batch(_flat(table, block, pa.schema(fields)))


def _write_lines(table: Table, block: pa.RecordBatch, out: IO[bytes]) -> None:
    objects = {column.name for column in table.columns if column.json}
    for row in _shortest(block).to_pylist():
        line = {k: json.loads(v) if k in objects and v else v for k, v in row.items()}
        out.write(json.dumps(line, ensure_ascii=False, default=_moment).encode() + b"\n")


def _moment(value: Any) -> str:
    return str(value.isoformat())


def _shortest(block: pa.RecordBatch) -> pa.RecordBatch:
    """Numbers of 4 bytes as those of 8 that are written the same way: 0.1 is not 0.100000001."""
    columns = [
        column.cast(_changed(column.type, pa.string())).cast(_changed(column.type, pa.float64()))
        for column in block.columns
    ]
    return pa.record_batch(columns, names=block.schema.names)


def _changed(type: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A type with another one instead of numbers of 4 bytes."""
    if pa.types.is_list(type):
        return pa.list_(_changed(type.value_type, other))
    return other if pa.types.is_float32(type) else type


def _csv_type(type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(type) else type


def _flat(table: Table, block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Lists as JSON text, as CSV has none."""
    short = _shortest(block)
    columns = [
        pa.array(
            [None if v is None else json.dumps(v, ensure_ascii=False) for v in lists.to_pylist()],
            pa.string(),
        )
        if pa.types.is_nested(lists.type)
        else whole
        for lists, whole in zip(short.columns, block.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


class _Outbox(io.RawIOBase):
    """A file that is only written to, and taken from as it grows."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """The bytes written since the last call."""
        taken, self._waiting = b"".join(self._waiting), []
        return taken


def zipped(write: Callable[[Open], Generator[None]], folder: str) -> Generator[bytes]:
    """A zip with one folder, in pieces, while its files are written.

    Args:
        write: Writes the files, each opened by the function it is given, and stops now and then.
    """
    outbox = _Outbox()
    with ZipFile(outbox, "w") as archive:

        def open_(name: str) -> IO[bytes]:
            info = ZipInfo(f"{folder}/{name}")
            info.compress_type = ZIP_STORED if name.endswith(COMPRESSED) else ZIP_DEFLATED
            return archive.open(info, "w", force_zip64=True)

        # Closed first where nobody wants the rest: it has a file of the archive open.
        with closing(write(open_)) as written:
            for _ in written:
                if piece := outbox.take():
                    yield piece
    yield outbox.take()


def in_folder(folder: Path) -> Open:
    """Opens the files of an export in a folder."""

    def open_(name: str) -> IO[bytes]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")

    return open_
