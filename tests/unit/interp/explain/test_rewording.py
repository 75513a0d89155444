"""Explanations reworded by rule."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.explain.rewording import GENERIC, quotations, reworded
from interp.vocabulary import Variant

TEXT = "The word “to” after “seem” or don't, as in “and to report”."


def _one(variant: Variant, text: str, *others: str, seed: int = 0) -> str:
    texts = dict(enumerate((text, *others)))
    return dict(reworded(variant, texts, seed=seed))[0]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (Variant.ORIGINAL, TEXT),
        (Variant.NO_MARKS, "The word to after seem or don't, as in and to report."),
        (Variant.QUOTED, "to, seem, and to report"),
        (Variant.PROSE, "The word it after it or don't, as in it."),
        (Variant.CAPITALS, "THE WORD “TO” AFTER “SEEM” OR DON'T, AS IN “AND TO REPORT”."),
        (Variant.GENERIC, GENERIC),
    ],
)
def test_a_text_by_hand(variant: Variant, expected: str) -> None:
    assert _one(variant, TEXT) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('The word "as".', ["as"]),
        ("The word 'as' or ‘so’.", ["as", "so"]),
        ("Wörter wie „und“ und «oder»", ["und", "oder"]),
        ("the people's and the nation's will", []),
        ("An empty “” one", []),
        ("", []),
    ],
)
def test_quotations(text: str, expected: list[str]) -> None:
    assert quotations(text) == expected


def test_what_a_rule_leaves_nothing_of() -> None:
    assert _one(Variant.QUOTED, "Numbers.") == GENERIC
    assert _one(Variant.PROSE, "“to”, “from”") == GENERIC


def test_every_pair_of_marks_goes_and_no_apostrophe() -> None:
    text = "A '-' in the people's \"as such\", «oder» or an open “one"
    assert _one(Variant.NO_MARKS, text) == "A - in the people's as such, oder or an open one"


WRITTEN = st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=8)


@given(WRITTEN, st.integers(0, 99))
def test_what_every_variant_keeps(texts: list[str], seed: int) -> None:
    by_latent = dict(enumerate(texts))
    for variant in Variant:
        found = dict(reworded(variant, by_latent, seed=seed))
        assert found.keys() == by_latent.keys() and all(map(str.strip, found.values()))
        assert found == dict(reworded(variant, by_latent, seed=seed)), "the seed fixes it"
        if variant is Variant.OTHERS:
            assert Counter(found.values()) == Counter(text.strip() for text in texts)
        if variant is Variant.SHUFFLED:
            assert all(Counter(found[i].split()) == Counter(by_latent[i].split()) for i in found)
        if variant is Variant.RANDOM_WORDS:
            words = {word for text in texts for word in text.split()}
            assert all(len(found[i].split()) == len(by_latent[i].split()) for i in found)
            assert {word for text in found.values() for word in text.split()} <= words


@given(st.integers(2, 30), st.integers(0, 99))
def test_no_latent_keeps_its_own(count: int, seed: int) -> None:
    by_latent = {latent: f"text {latent}" for latent in range(count)}
    found = dict(reworded(Variant.OTHERS, by_latent, seed=seed))
    assert all(found[latent] != text for latent, text in by_latent.items())
