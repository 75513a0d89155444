"""Documents told apart by their text, and records of what was seen."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.corpus.copies import WORDS, Identity, distinct, identity, shingles, text_hash
from interp.corpus.documents import Document
from interp.corpus.seen import SeenText

VOCABULARY = [f"word{number}" for number in range(5000)]


def words(seed: int, count: int = 400) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def text(seed: int, count: int = 400) -> str:
    return " ".join(words(seed, count))


def kept(*texts: str) -> list[int]:
    """Which texts are kept, by their number."""
    documents = [Document(f"{number:03}", text) for number, text in enumerate(texts)]
    return [int(document.name) for document in distinct(documents).documents]


@given(st.text(min_size=1).filter(str.strip))
def test_white_space_and_compatible_forms_do_not_tell_texts_apart(written: str) -> None:
    assert text_hash(f"\n {written}\t") == text_hash(written)
    assert text_hash("  ".join(written.split())) == text_hash(written)


def test_case_and_words_tell_texts_apart() -> None:
    hashes = {text_hash(one) for one in ("a b", "A b", "ab", "a c", "a-b")}
    assert len(hashes) == 5
    assert text_hash("ﬁne") == text_hash("fine")


def test_shingles_of_a_worked_case() -> None:
    # Seven words: three runs of five.
    assert len(shingles("one two three four five six seven")) == 3
    assert len(shingles("a b c d e a b c d e")) == 5
    assert len(shingles("one two")) == len(shingles("...")) == len(shingles("")) == 1
    assert np.array_equal(shingles("One, two; THREE"), shingles("one two three"))
    # Scripts without spaces count by character: eight of them.
    assert len(shingles("日本語の文章です")) == 4


@given(st.lists(st.sampled_from("abcde"), min_size=WORDS, max_size=40))
def test_every_run_of_words_is_a_shingle(spelled: list[str]) -> None:
    runs = {tuple(spelled[i : i + WORDS]) for i in range(len(spelled) - WORDS + 1)}
    assert len(shingles(" ".join(spelled))) == len(runs)


def test_equal_texts_are_one_document() -> None:
    assert kept(text(0), text(1) + "  ", text(0), "\n" + text(1)) == [0, 1]
    # In short texts too, where there is no run of five words.
    assert kept("a b", "a\tb", "a c", "...", "!!!") == [0, 2, 3, 4]


def test_nearly_equal_texts_are_one_document() -> None:
    near = words(0)
    near[200] = "other"  # 5 of 396 runs differ
    far = words(0)
    far[::10] = ["other"] * 40  # half of them
    assert kept(text(0), " ".join(near), " ".join(far)) == [0, 2]
    assert kept(text(0), text(0).upper()) == [0]


def test_parts_of_a_text_are_no_documents_of_their_own() -> None:
    whole = words(0)
    assert kept(" ".join(whole[100:200]), " ".join(whole)) == [1]
    # Texts that only share a passage are two documents.
    passage = words(9, 100)
    assert kept(" ".join(whole + passage), " ".join(words(1) + passage)) == [0, 1]


def test_a_passage_that_many_share_joins_nothing() -> None:
    licence = text(9, 100)
    texts = [f"{licence} {text(seed)}" for seed in range(100)]
    assert kept(*texts) == list(range(100))
    assert kept(*texts, *texts) == list(range(100))


def test_copies_are_found_beneath_a_passage_that_many_share() -> None:
    licence = text(9, 300)
    pairs = []
    for seed in range(100, 160):
        changed = words(seed, 250)
        changed[100] = "other"
        pairs += [f"{licence} {text(seed, 250)}", f"{licence} {' '.join(changed)}"]
    assert len(kept(*pairs)) <= 62, "a sketch may hold nothing but the licence"


def test_one_of_many_copies_is_kept() -> None:
    each = []
    for number in range(200):
        one = words(0)
        one[number] = "other"
        each.append(" ".join(one))
    assert len(kept(*each)) == 1


def test_the_copies_of_a_document_are_told() -> None:
    near = words(0)[:-1]
    documents = [
        Document("c", text(0)),
        Document("b", " ".join(near)),
        Document("a", text(1)),
        Document("d", " ".join(near) + "\n"),
    ]
    found = distinct(documents)
    assert [document.name for document in found.documents] == ["c", "a"]
    assert found.identities == {"c": identity(text(0)), "a": identity(text(1))}
    assert {name: {d.name for d in part} for name, part in found.copies.items()} == {
        "c": {"b", "d"}
    }


@given(st.lists(st.integers(0, 12), max_size=30), st.randoms())
def test_what_is_kept_does_not_depend_on_the_order(
    seeds: list[int], shuffler: random.Random
) -> None:
    documents = [Document(f"{i}", text(seed, 30)) for i, seed in enumerate(seeds)]
    shuffled = documents.copy()
    shuffler.shuffle(shuffled)
    found = {document.name for document in distinct(shuffled).documents}
    assert found == {document.name for document in distinct(documents).documents}
    assert len(found) == len(set(seeds))


def seen(*texts: str) -> SeenText:
    return SeenText.of(map(identity, texts))


def among(record: SeenText, *texts: str) -> list[int]:
    found = record.among({f"{i:03}": identity(one) for i, one in enumerate(texts)})
    return [int(name) for name in found]


def test_seen_text_is_known_under_any_name() -> None:
    near = words(0)
    near[200] = "other"
    record = seen(text(0), text(1), "a b")
    assert among(record, text(2), text(0) + "\n", " ".join(near), text(3), "a  b", "a c") == [
        1,
        2,
        4,
    ]


@pytest.mark.parametrize("changed", [40, 80])
def test_nearly_seen_text_is_known(changed: int) -> None:
    # The last so many of 400 words are others: Jaccard 0.81 and 0.66.
    texts = [" ".join(words(i)[: 400 - changed] + words(1000 + i, changed)) for i in range(200)]
    found = among(seen(*map(text, range(200))), *texts)
    assert len(found) > (190 if changed == 40 else 100)


def test_other_text_is_not_seen() -> None:
    record = seen(*map(text, range(200)))
    assert among(record, *map(text, range(200, 600))) == []


def test_a_record_has_each_text_once_in_an_order_of_its_own() -> None:
    record = seen(text(1), text(0), text(1))
    assert record == seen(text(0), text(1))
    assert all(one < other for one, other in pairwise(record.hashes))
    assert SeenText.model_validate_json(record.model_dump_json()) == record
    assert isinstance(identity("x"), Identity)
