"""Reading files of explanations that are far too large, or made to hurt."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interp.errors import InputError
from interp.explain import files, parquet
from tests import REPOSITORY
from tests.explanation_files import parquet_file, repeated_column

MB = 10**6


def refusal(content: io.BytesIO, name: str) -> str:
    with pytest.raises(InputError) as raised:
        for _ in files.read(content, name, author="me"):
            pass
    return str(raised.value)


def test_a_parquet_file_of_a_million_versions() -> None:
    bomb = parquet_file(repeated_column("x" * 2000, MB), [0] * MB, compression="zstd")
    assert len(bomb.getvalue()) < MB
    assert "row 1001" in refusal(bomb, "a.parquet")


def test_parquet_files_that_unpack_to_gigabytes() -> None:
    for bomb in (
        parquet_file(
            ["x" * 600 * MB], compression="zstd", use_dictionary=False, write_statistics=False
        ),
        parquet_file(repeated_column("x" * 50 * MB, 5000), compression="zstd"),
        parquet_file(repeated_column("x" * 60_000, 20_000), compression="zstd"),
    ):
        assert len(bomb.getvalue()) < MB
        said = refusal(bomb, "a.parquet")
        assert "too large" in said or "memory" in said or "Use at most 2,000" in said


def test_too_many_rows_are_refused_unread() -> None:
    assert "1,000,000" in refusal(parquet_file(repeated_column("x", MB + 1)), "a.parquet")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"latent": [1], "text": [["a"]]}, "column “text”"),
        ({"latent": [1], "text": [b"a"]}, "column “text”"),
        ({"latent": [{"a": 1}], "text": ["a"]}, "column “latent”"),
        ({"latent": [1]}, "no column “text”"),
        ({"latent": [1.5], "text": ["a"]}, "row 1, is no explanation: latent"),
        ({"latent": [float("nan")], "text": ["a"]}, "row 1, is no explanation: latent"),
        ({"latent": [-1], "text": ["a"]}, "row 1, is no explanation: latent"),
        ({"latent": [1], "text": ["a\x00b"]}, "row 1, is no explanation: text"),
        ({"latent": [1], "text": ["a" * 70_000]}, "row 1"),
    ],
)
def test_parquet_files_that_hold_something_else(table: dict[str, list[object]], says: str) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table(table), out)
    assert says in refusal(out, "a.parquet")


def test_a_parquet_file_cut_anywhere_is_refused() -> None:
    whole = parquet_file(["one", "two"]).getvalue()
    for end in range(4, len(whole), len(whole) // 5):
        assert "a.parquet" in refusal(io.BytesIO(whole[:end]), "a.parquet")


def test_who_stops_reading_leaves_no_process(capfd: pytest.CaptureFixture[str]) -> None:
    rows: Iterator[object] = parquet.rows(
        parquet_file(repeated_column("x", 100_000)), "a", ["latent", "text"]
    )
    assert next(rows) == {"latent": 0, "text": "x"}
    rows.close()  # type: ignore[attr-defined]  # waits for the process
    assert "Traceback" not in capfd.readouterr().err


def test_lines_and_rows_without_an_end() -> None:
    long = b'{"latent": 1, "text": "' + b"x" * 3 * MB
    assert "line 1, is longer" in refusal(io.BytesIO(long), "a.jsonl")
    good = b'{"latent": 1, "text": "x"}\n'
    assert "line 2, is longer" in refusal(io.BytesIO(good + long), "a.jsonl")
    head = b"latent,text\n"
    assert "more than" in refusal(io.BytesIO(head + b'1,"' + b"x" * 3 * MB), "a.csv")
    assert "more than" in refusal(io.BytesIO(head + b'1,x,"\n"' + b',"\n"' * MB), "a.csv")
    assert "more than" in refusal(io.BytesIO(b"," * 3 * MB), "a.csv")
    long_field = head + b'1,"' + b"x" * 200_000 + b'"\n'
    assert "line 2, is no explanation: text: Use at most" in refusal(
        io.BytesIO(long_field), "a.csv"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"latent": %s, "text": "x"}' % ("9" * 5000), "too many digits"),
        ('{"latent": %s, "text": "x"}' % ("9" * 400), "latent"),
        ('{"latent": 1, "text": "x", "other": %s}' % ("9" * 5000), "too many digits"),
        ('{"latent": 1, "text": "\\ud83d"}', "half characters"),
        ('{"latent": 1, "text": "x", "author": "\\ud83d"}', "half characters"),
        ('{"latent": 1, "text": "a\\u0000b"}', "control characters"),
        ('{"latent": 1, "text": "a\\u007fb"}', "control characters"),
        ('{"latent": 1, "text": "x", "author": "a\\nb"}', "one line"),
        ('{"latent": 1, "text": "%s"}' % ("x" * 2001), "at most 2,000 characters; this has 2,001"),
        ('{"latent": 1, "text": "x", "author": "%s"}' % ("x" * 201), "at most 200 characters"),
        ('{"latent": 1, "text": "x", "author": "a", "author_kind": "cat"}', "'person' or 'model'"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_wrong_with_a_line(line: str, says: str) -> None:
    said = refusal(io.BytesIO(line.encode()), "a.jsonl")
    assert "line 1" in said
    assert says in said
    for internal in ("^[", "Input should", "Value error", "validation"):
        assert internal not in said


def test_a_mark_that_windows_puts_first_is_no_text() -> None:
    line = json.dumps({"latent": 1, "text": " a\n b "}).encode()
    (found,) = files.read(io.BytesIO(b"\xef\xbb\xbf" + line), "a.jsonl", author="me")
    assert found.written.text == "a  b"
    (found,) = files.read(io.BytesIO(b'\xef\xbb\xbflatent,text\n1,"a\nb"\n'), "a.csv", author="me")
    assert found.written.text == "a b"


READ = """
import sys
from interp.explain.files import read
with open(sys.argv[1], "rb") as file:
    print(sum(1 for _ in read(file, sys.argv[1], author="me")))
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak so")
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_large_file_is_read_in_bounded_memory(tmp_path: Path, ending: str) -> None:
    rows = 100_000
    path = tmp_path / f"large.{ending}"
    texts = [f"fires on word number {n} " + "and so on " * 60 for n in range(rows)]
    if ending == "parquet":
        path.write_bytes(parquet_file(texts).getvalue())
    else:
        with path.open("w") as out:
            out.writelines(json.dumps({"latent": n, "text": t}) + "\n" for n, t in enumerate(texts))
    run = [sys.executable, "-c", READ, str(path)]
    said = subprocess.run(run, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    found, megabytes = map(int, said.stdout.split())
    assert found == rows
    assert megabytes < 150, "the texts alone take 60 MB, and as objects three times that"
