"""What a corpus may be, how it is named, and what is read of it, whatever its bytes."""

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.corpus import rows as reading
from interp.corpus.documents import Document, load_documents
from interp.corpus.source import Source, source_of
from interp.corpus.unused import Unused
from interp.errors import InputError

TEXTS = ["one", "première\nligne", 'say "hi", he said', "πέντε 🙂", "last"]


def gz(content: bytes) -> bytes:
    return gzip.compress(content)


def zst(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, "zstd", asbytes=True)
    return packed


def as_is(content: bytes) -> bytes:
    return content


def json_lines(texts: list[str], column: str = "text") -> bytes:
    return "".join(json.dumps({"id": 1, column: text}) + "\n" for text in texts).encode()


def comma_separated(texts: list[str], column: str = "text") -> bytes:
    cells = ['"' + text.replace('"', '""') + '"' for text in texts]
    return "".join([f'"{column}",id\r\n', *(f"{cell},1\r\n" for cell in cells)]).encode()


def parquet(texts: list[str], column: str = "text") -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"id": [1] * len(texts), column: texts}), written)
    return written.getvalue()


KINDS: dict[str, Callable[..., bytes]] = {
    ".jsonl": json_lines,
    ".csv": comma_separated,
    ".parquet": parquet,
}
PACKED = [("", as_is), (".gz", gz), (".zst", zst)]


def put(folder: Path, name: str, content: bytes) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return str(folder / name)


def refused(name: str) -> str:
    """What is said of a corpus that cannot be read: one line."""
    with pytest.raises(InputError) as error:
        load_documents(name)
    message = str(error.value)
    assert "\n" not in message
    message.encode()
    return message


@pytest.mark.parametrize(("ending", "pack"), PACKED)
@pytest.mark.parametrize("column", ["text", "the body & more"])
@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_rows_are_read_packed_or_not(
    tmp_path: Path, kind: str, column: str, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    path = put(tmp_path, f"Rows{kind.upper()}{ending}", pack(KINDS[kind](TEXTS, column)))
    name = path if column == "text" else f"{path}?column=the%20body %26 more"
    file = Path(path).name
    assert load_documents(name) == [Document(f"{file}#{i}", t) for i, t in enumerate(TEXTS)]


def test_a_folder_may_mix_all_kinds(tmp_path: Path) -> None:
    put(tmp_path, "b/c/deep.txt.gz", gz(b"deep"))
    put(tmp_path, "a.txt", b"text")
    put(tmp_path, "b/table.parquet", parquet(["p0", "p1"], "body"))
    put(tmp_path, "b/lines.jsonl.zst", zst(json_lines(["l0"], "body")))
    put(tmp_path, "notes.md", b"not read")
    assert load_documents(f"{tmp_path}?column=body") == [
        Document("a.txt", "text"),
        Document("b/c/deep.txt.gz", "deep"),
        Document("b/lines.jsonl.zst#0", "l0"),
        Document("b/table.parquet#0", "p0"),
        Document("b/table.parquet#1", "p1"),
    ]
    assert "lines.jsonl.zst, line 1, has no column 'text'. It has 'id', 'body'" in refused(
        str(tmp_path)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_not_there_names_those_that_are(tmp_path: Path, kind: str) -> None:
    name = put(tmp_path, f"rows{kind}", KINDS[kind](TEXTS, "body"))
    said = refused(f"{name}?column=words")
    assert "no column 'words'" in said and "'id'" in said and "'body'" in said


def test_no_more_than_the_wanted_documents_are_read(tmp_path: Path) -> None:
    name = put(tmp_path, "rows.jsonl", json_lines(["a", "", "b", "c"]) + b"{broken")
    assert [d.text for d in load_documents(f"{name}?documents=3")] == ["a", "b", "c"]


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_marked_encodings_and_line_ends_are_read(
    tmp_path: Path, encoding: str, line_end: str
) -> None:
    lines = ["premier 🙂", "", "ਂ second"]  # U+0A02 has the byte of a line end in UTF-16
    put(tmp_path, "texts/a.txt", line_end.join(lines).encode(encoding))
    assert load_documents(str(tmp_path / "texts")) == [Document("a.txt", "\n".join(lines))]
    rows = [json.dumps({"text": text}, ensure_ascii=False) if text else "" for text in lines]
    name = put(tmp_path, "rows.jsonl", line_end.join(rows).encode(encoding))
    found = [Document("rows.jsonl#0", lines[0]), Document("rows.jsonl#1", lines[2])]
    assert load_documents(name) == found
    name = put(tmp_path, "rows.csv", line_end.join(["text", *lines]).encode(encoding))
    assert [d.text for d in load_documents(name)] == [lines[0], lines[2]]


@pytest.mark.parametrize(("ending", "pack"), PACKED)
def test_a_broken_line_is_named(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    lines = [json.dumps({"text": f"number {i}"}) for i in range(5000)]
    lines[4321] = lines[4321][:-1]
    name = put(tmp_path, f"rows.jsonl{ending}", pack("\n".join(lines).encode()))
    assert f"{name}, line 4322, is not JSON" in refused(name)


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".txt"])
@pytest.mark.parametrize(("ending", "pack"), PACKED[1:])
def test_a_packed_file_cut_short_is_named(
    tmp_path: Path, kind: str, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    texts = [os.urandom(40).hex() for _ in range(2000)]
    whole = pack(KINDS.get(kind, json_lines)(texts))
    name = put(tmp_path, f"rows{kind}{ending}", whole[: len(whole) // 2])
    said = refused(name)
    assert name in said and "cut short" in said
    assert "cannot be unpacked" in refused(put(tmp_path, f"other{kind}{ending}", b"not packed"))


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    name = put(tmp_path, "rows.parquet", parquet(TEXTS)[:-20])
    said = refused(name)
    assert name in said and "cut short" in said


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_a_byte_that_is_not_utf8_has_its_line(tmp_path: Path, kind: str) -> None:
    content = KINDS[kind]([f"number {i}" for i in range(400)])
    name = put(tmp_path, f"rows{kind}", content.replace(b"number 123", b"caf\xe9"))
    line = 124 if kind == ".jsonl" else 125  # below the names of the columns
    assert f"{name}, line {line}, is not UTF-8" in refused(name)


def test_a_parquet_string_that_is_not_utf8_has_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"fine"] * 1500 + [b"caf\xe9"] + [b"fine"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet")
    assert "rows.parquet, row 1501, is not UTF-8" in refused(str(tmp_path / "rows.parquet"))


def test_half_a_file_of_utf16_is_named(tmp_path: Path) -> None:
    content = json_lines(["one", "two"]).decode().encode("utf-16")
    assert "is not UTF-16" in refused(put(tmp_path, "rows.jsonl", content[:-1]))


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".txt"])
def test_what_is_too_long_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    bomb = gz(KINDS.get(kind, json_lines)(["short", "x" * (1 << 21)]))
    name = put(tmp_path, f"rows{kind}.gz", bomb)
    assert "longer than 1 MiB" in refused(name)


def test_a_field_of_many_lines_and_a_quote_without_end(tmp_path: Path) -> None:
    name = put(tmp_path, "rows.csv", b'id,text\n1,"a\nb\n\nc"\n2\n3,"never\nclosed\n')
    said = refused(name)
    assert "rows.csv, line 7, begins a row that is not CSV" in said
    unused = Unused()
    name = put(tmp_path, "rows.csv", b'id,text\n1,"a\nb\n\nc"\n2\n3,"x",more\n')
    found = load_documents(name, unused)
    assert found == [Document("rows.csv#0", "a\nb\n\nc"), Document("rows.csv#2", "x")]
    assert unused.found == {"null": (1, f"{name}, line 6")}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for kind, write in KINDS.items():
        path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9" + kind.encode())
        Path(path).write_bytes(write(["x"]))
        assert load_documents(path) == [Document(f"caf\\xe9{kind}#0", "x")]
        assert "caf\\xe9" in refused(f"{path}?column=none")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=6))
def test_rows_hold_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for kind in (".jsonl", ".parquet"):
        name = put(folder, f"rows{kind}", KINDS[kind](["first", *texts]))
        kept = [text for text in texts if text.strip()]
        assert [d.text for d in load_documents(name)] == ["first", *kept]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("sotu", Source("sotu")),
        ("sotu?documents=5", Source("sotu", documents=5)),
        ("a.jsonl?column=body", Source("a.jsonl", "body")),
        ("a.jsonl?column=messages&template=no", Source("a.jsonl", "messages", template=False)),
        ("why?.txt", Source("why?.txt")),
        ("what?/a.jsonl?column=b", Source("what?/a.jsonl", "b")),
        (
            "HuggingFaceFW/fineweb?config=sample-10BT&split=train&column=text",
            Source("HuggingFaceFW/fineweb", "text", "sample-10BT", "train"),
        ),
        ("a/b?revision=refs%2Fpr%2F1", Source("a/b", revision="refs/pr/1")),
    ],
)
def test_the_name_of_a_corpus(name: str, source: Source) -> None:
    assert source_of(name) == source


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jsonl?field=body", "the option 'field'.*There are column, config"),
        ("a.jsonl?column=", "column has no value"),
        ("a.jsonl?column=a&column=b", "column comes twice"),
        ("a/b?documents=0", "number from 1 on"),
        ("a/b?documents=many", "number from 1 on"),
        ("a.jsonl?template=maybe", "template must be yes or no"),
        ("sotu?column=text", "has no column"),
        ("a.txt?column=text", "has no column"),
        ("a.csv?split=train", "split is of data sets"),
    ],
)
def test_what_is_not_understood_of_a_name(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        source_of(name)


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("sotu", None),
        ("HuggingFaceFW/fineweb?config=x", None),
        ("texts", "texts"),
        ("texts/a.jsonl.gz?column=b", "texts/a.jsonl.gz"),
        ("/etc/passwd?column=b", "/etc/passwd"),
        ("../x?split=train", "../x"),
        ("a/..?split=train", "a/.."),
        ("tests/unit", "tests/unit"),  # is there
        ("models/a.gguf", "models/a.gguf"),
        ("models/corpus.v2", None),
        ("json", "json"),  # the library would take it for all files in the folder that it runs in
    ],
)
def test_where_a_corpus_is(name: str, here: str | None) -> None:
    assert source_of(name).here == here
