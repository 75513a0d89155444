"""Rows of a Parquet file that anybody may have made, read in a process of bounded memory.

A few hundred bytes of Parquet can unpack to gigabytes, and what a file says of its own size may be
false. So a child process reads it, whose memory the system bounds, and hands on its rows as JSON.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from shutil import copyfileobj
from typing import IO, Any

from interp.errors import InputError

log = logging.getLogger(__name__)

MOST = 1_000_000
"""Rows of a file, at most."""
UNPACKED = 500_000_000
"""Bytes of a file's text and numbers when unpacked, at most."""
FIELD = 2**16
"""Bytes of one field, at most."""
MEMORY = 2**30
"""Bytes of address space of the child process; Python and pyarrow take a quarter of it."""
FRUGAL = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
"""Threads and allocators reserve address space that they do not use, some more, some less."""
ROWS_AT_ONCE = 1024


class _Refused(Exception):
    """A fault of the file, as the end of a sentence that begins with its name."""


def rows(file: IO[bytes], name: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file, one after another.

    Args:
        file: Binary and seekable.
        name: Its name, for messages.
        columns: Columns to read of each row, if the file has them.

    Raises:
        InputError: It is no Parquet file, has no columns ``latent`` and ``text``, or is too large.
    """
    with tempfile.TemporaryFile() as copy, tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, *columns],
            stdin=_on_disk(file, copy),
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | FRUGAL,
        )
        assert child.stdout is not None
        try:
            yield from map(json.loads, child.stdout)
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        if code == 0:
            return
        said.seek(0)
        why = said.read(4000).decode(errors="replace").strip()
        if code != REFUSED:
            log.error("The process that reads %s ended with %d: %s", name, code, why)
            why = "cannot be read: the process that reads it broke off"
        if code == TOO_LARGE:
            why = f"needs more than {MEMORY // 2**20:,} MB of memory to be read"
        raise InputError(f"{name} {why}.")


def _on_disk(file: IO[bytes], copy: IO[bytes]) -> IO[bytes]:
    """The file itself, or a copy where it has no descriptor that a process could take over."""
    try:
        file.fileno()
    except OSError:
        file.seek(0)
        copyfileobj(file, copy)
        copy.flush()
        return copy
    file.flush()
    return file


# --- The child process ------------------------------------------------------------------------

REFUSED, TOO_LARGE = 3, 4
"""Its exit statuses when the file is at fault, and when it does not fit into memory."""


def _main(columns: Sequence[str]) -> int:
    import pyarrow as pa

    # Where a system has no such bound (macOS), the checks below are what there is.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        with os.fdopen(sys.stdin.fileno(), "rb", closefd=False) as file:
            for block in _blocks(file, columns):
                sys.stdout.write("".join(json.dumps(row) + "\n" for row in block))
        sys.stdout.flush()
    except _Refused as error:
        print(error, file=sys.stderr)
        return REFUSED
    except UnicodeDecodeError:
        print("cannot be read: it has text that is not UTF-8", file=sys.stderr)
        return REFUSED
    except (pa.ArrowMemoryError, MemoryError):
        return TOO_LARGE
    except (pa.ArrowException, OSError) as error:
        print("cannot be read:", " ".join(str(error).split()).rstrip(".")[:300], file=sys.stderr)
        return REFUSED
    return 0


def _blocks(file: IO[bytes], columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, thrift_string_size_limit=10**7, thrift_container_size_limit=10**5)
    schema = table.schema_arrow
    for needed in ("latent", "text"):
        if needed not in schema.names:
            raise _Refused(f"has no column “{needed}”. It needs latent and text")
    wanted = [column for column in schema.names if column in columns]
    texts = [column for column in wanted if _holds_text(schema, column)]
    _check_size(table.metadata, wanted)
    number = unpacked = 0
    for batch in table.iter_batches(ROWS_AT_ONCE, columns=wanted, use_threads=False):
        for column in texts:
            array = batch.column(column)
            if hasattr(array, "dictionary_decode"):
                array = array.dictionary_decode()
            lengths = pc.binary_length(array)
            unpacked += pc.sum(lengths).as_py() or 0
            if (pc.max(lengths).as_py() or 0) > FIELD:
                first = pc.index(pc.greater(lengths, FIELD), True).as_py()
                raise _Refused(
                    f"is too large: row {number + first + 1} has more than {FIELD:,} bytes in "
                    f"column “{column}”"
                )
        if unpacked > UNPACKED:
            raise _Refused(f"is too large: it unpacks to more than {UNPACKED // 10**6} MB")
        number += batch.num_rows
        yield batch.to_pylist()


def _holds_text(schema: Any, column: str) -> bool:
    """True if a column holds text. The alternative is numbers, of ``latent`` only."""
    from pyarrow import types

    kind = schema.field(column).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return True
    if types.is_null(kind):
        return False
    if column == "latent" and (types.is_integer(kind) or types.is_floating(kind)):
        return False
    raise _Refused(f"cannot be read: column “{column}” holds {kind}, and no text")


def _check_size(metadata: Any, wanted: Sequence[str]) -> None:
    """Refuse by what the file says of itself, before anything is unpacked."""
    if metadata.num_rows > MOST:
        raise _Refused(f"has more than {MOST:,} explanations: use parts of it")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    parts = [group.column(i) for group in groups for i in range(group.num_columns)]
    sizes = [part.total_uncompressed_size for part in parts if part.path_in_schema in wanted]
    if sum(sizes) > UNPACKED or min(sizes, default=0) < 0:
        raise _Refused(f"is too large: it unpacks to more than {UNPACKED // 10**6} MB")


if __name__ == "__main__":
    status = _main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # Arrow's threads are not taken down, for which there may be no memory left
