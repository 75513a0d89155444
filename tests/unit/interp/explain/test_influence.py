"""Words to leave out, and phrases to add."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.explain.influence import adding, additions, phrases, without, words
from interp.explain.vocabulary import Vocabulary


def test_words_have_no_mark_behind_them() -> None:
    text = "Digits, as in “$12,000” or the U.S. – often."
    assert [span.of(text) for span in words(text)] == [
        *("Digits", "as", "in", "“$12,000”", "or", "the", "U.S", "often")
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Rivers, large seas and oceans; also ports.", ["large seas and oceans", "also ports"]),
        (
            "Numbers such as “12, 13”, and years of war",
            ["Numbers such as “12, 13”", "and years of war"],
        ),
        ("The word state (or nation, rarely) in law", []),
        ("Rivers and seas", []),
    ],
)
def test_phrases_stand_between_commas(text: str, parts: list[str]) -> None:
    assert [span.of(text) for span in phrases(text)] == parts


@pytest.mark.parametrize(
    ("text", "part", "rest"),
    [
        ("Rivers, seas, and lakes.", "seas", "Rivers, and lakes."),
        ("Rivers, seas", "seas", "Rivers"),
        ("Rivers, seas", "Rivers", "seas"),
        ("rivers", "rivers", ""),
        ("The “state” (or “nation”) in law", "“nation”", "The “state” (or) in law"),
        ("The “state” (or “nation”) in law", "or", "The “state” (“nation”) in law"),
        ("The “state” (“nation”) in law", "“nation”", "The “state” in law"),
    ],
)
def test_a_text_without_a_part(text: str, part: str, rest: str) -> None:
    start = text.index(part)
    (span,) = [one for one in words(text) if one.start == start]
    assert without(text, span) == rest


@given(st.text("ab,. “”()-1", max_size=40).map(str.strip))
def test_no_other_word_is_lost(text: str) -> None:
    spans = words(text)
    names = [span.of(text) for span in spans]
    for number, span in enumerate(spans):
        rest = without(text, span)
        assert "  " not in rest and rest == rest.strip()
        kept = re.findall(r"\w", "".join(names[:number] + names[number + 1 :]))
        assert re.findall(r"\w", rest) == kept


def test_a_phrase_goes_before_the_full_stop() -> None:
    assert adding("Rivers.", "“sea”") == "Rivers, “sea”."
    assert adding("Rivers", "“sea”") == "Rivers, “sea”"


def test_words_that_are_missed_come_first() -> None:
    strings = [["<s>", " the", " sea", " is", " wide"], ["<s>", " a", " sea", " of", " land"]] * 2
    missed = np.zeros((4, 5))
    missed[:, 2] = 3.0  # sea
    missed[:2, 4] = 1.0  # wide and land, each once of two
    missed[:, 1] = -1.0  # predicted too high
    vocabulary = Vocabulary.of(strings, first_position=1)
    everywhere = np.ones(4, bool)
    found = additions("Rivers.", vocabulary, missed, everywhere)
    assert found[0] == "“sea”"
    assert set(found[1:]) == {"“sea” after “the”", "“sea” after “a”"}, "once may be chance"
    assert additions("Sea, and rivers", vocabulary, missed, everywhere)[0] == "“sea” after “the”"
    assert additions("The sea, a river", vocabulary, missed, everywhere) == []
    assert additions("Rivers.", vocabulary, missed, ~everywhere) == []
