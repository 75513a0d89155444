"""Variants of a lexical explanation."""

import re

import pytest

from interp.explain.lexical import LexicalExplanation, Term
from interp.explain.variants import variants

GO = LexicalExplanation(
    "Active on “go” (50%), “going” (30%), “went” (20%).",
    1.0,
    0.9,
    [Term("go", 0.5, 0.9), Term("going", 0.3, 0.9), Term("went", 0.2, 0.9)],
)
OF = LexicalExplanation(
    "Active on “of” (80%, after “rise”, “fall”, “end” or “top”), a line break (20%, …).",
    1.0,
    0.9,
    [
        Term("of", 0.8, None, ("rise", "fall", "end", "top"), 0.9),
        Term("\n", 0.2, 0.5, ("\n",), 0.9),
        Term(",", 0.1, 0.5),
    ],
)
MANY = LexicalExplanation(
    "Active on many different words, such as …",
    None,
    None,
    [Term(f"w{i}", 0.01, 1.0) for i in range(10)],
)


@pytest.mark.parametrize("explanation", [GO, OF, MANY])
def test_variants_differ_and_hold_no_figures(explanation: LexicalExplanation) -> None:
    found = variants(explanation, count=8, seed=3)
    assert len(found) == len(set(found)) == 8
    for text in found:
        assert "%" not in text
        assert "\n" not in text
        assert text == " ".join(text.split()) != explanation.text
        assert len(text.split()) <= 45


def test_the_seed_fixes_the_variants() -> None:
    assert variants(GO, count=5, seed=1) == variants(GO, count=5, seed=1)
    assert variants(GO, count=5, seed=1) != variants(GO, count=5, seed=2)
    assert variants(GO, count=3, seed=1) == variants(GO, count=5, seed=1)[:3]


def test_every_variant_names_the_most_active_words_and_no_others() -> None:
    for text in variants(GO, count=40, seed=0):
        named = [word for word in re.findall(r"\w+", text) if word in ("go", "going", "went")]
        assert named == ["go", "going", "went"][: len(named)] != []
        assert not re.search(r"\b(rise|after|w\d)\b", text)
    for text in variants(MANY, count=40, seed=0):
        named = re.findall(r"w\d", text)
        assert named == [f"w{i}" for i in range(len(named))]
        assert 3 <= len(named) <= 6


def test_a_word_that_counts_only_after_others_is_never_without_them() -> None:
    for text in variants(OF, count=60, seed=0):
        assert re.search(r"\bof\b.{0,20}\brise\b.*\bfall\b.*\bend\b", text)
        assert "top" not in text
        assert "words a line" not in text and "word a line" not in text


def test_signs_are_always_quoted_and_white_space_is_named() -> None:
    texts = variants(OF, count=60, seed=0)
    with_sign = [text for text in texts if re.search(r"[“\"'],[”\"']", text)]
    assert with_sign
    assert any("a line break" in text for text in texts)


def test_where_little_is_said_there_are_few_variants() -> None:
    one = LexicalExplanation("Active on “go” (100%).", 1.0, 1.0, [Term("go", 1.0, 1.0)])
    found = variants(one, count=1000, seed=0)
    assert "go" in found
    assert 20 < len(found) < 200
