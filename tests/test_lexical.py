"""Explanations made by counting words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.activations import LatentActivations
from interp.explain.lexical import Vocabulary, explain


def latent(*entries: tuple[int, int, float]) -> LatentActivations:
    """A latent active at these (context, position, activation)."""
    contexts, positions, activations = zip(*entries, strict=True) if entries else ((), (), ())
    return LatentActivations(
        np.array(contexts, np.int64), np.array(positions, np.int64), np.array(activations, "f4")
    )


def vocabulary(*contexts: list[str]) -> Vocabulary:
    return Vocabulary.of(contexts, first_position=1)


def words(*tokens: str) -> list[str]:
    """The word of each token, "-" for none."""
    found = vocabulary(["<s>", *tokens])
    return [found.words[i] if i >= 0 else "-" for i in found.word_of[0]][1:]


def test_shares_precision_and_surroundings_worked_by_hand() -> None:
    known = vocabulary(
        ["<s>", " the", " dog", " and", " the", " cat", "."],
        ["<s>", " a", " dog", " and", " the", " dog", "."],
    )
    explanation = explain(latent((0, 2, 3.0), (0, 5, 1.0), (1, 5, 4.0)), known)
    assert explanation is not None
    # Dog has 3 + 4 of 8, cat 1 of 8 (rounded half to even); all of it after "the".
    assert explanation.text == "Active on “dog” (88%), “cat” (12%), mostly after “the”."
    assert explanation.coverage == 1.0
    # Active on three of the four tokens that are dog or cat.
    assert explanation.precision == 3 / 4


def test_low_precision_is_said() -> None:
    known = vocabulary(["<s>", " the", " a", " the", " b", " the", " c"])
    explanation = explain(latent((0, 1, 2.0)), known)
    assert explanation is not None
    # One of the three tokens "the"; it is the first word, so no word comes before it.
    assert explanation.text == "Active on “the” (100%), on about 33% of their occurrences."
    assert explanation.precision == pytest.approx(1 / 3)


def test_words_with_little_of_the_activation_are_not_named() -> None:
    known = vocabulary(["<s>", " a", " b", " c", " d"])
    # 50%, 25%, 22% and 3% of 100: the last is below 4%.
    explanation = explain(latent((0, 1, 50), (0, 2, 25), (0, 3, 22), (0, 4, 3)), known)
    assert explanation is not None
    assert explanation.text.startswith("Active on “a” (50%), “b” (25%), “c” (22%)")
    assert "“d”" not in explanation.text
    assert explanation.coverage == pytest.approx(0.97)


def test_what_is_not_covered_is_said() -> None:
    # "a" has 40 of 100, twenty others 3 each.
    known = vocabulary(["<s>", " a", *(f" w{i}" for i in range(20))])
    explanation = explain(latent((0, 1, 40.0), *((0, 2 + i, 3.0) for i in range(20))), known)
    assert explanation is not None
    assert explanation.text == "Active on “a” (40%) and on other words."
    assert explanation.coverage == pytest.approx(0.4)


def test_at_most_eight_words_are_named() -> None:
    known = vocabulary(["<s>", *(f" w{i}" for i in range(10))])
    # Ten words of 10% each; the first eight are named, in order.
    explanation = explain(latent(*((0, 1 + i, 1.0) for i in range(10))), known)
    assert explanation is not None
    assert explanation.coverage == pytest.approx(0.8)
    assert "“w7”" in explanation.text
    assert "“w8”" not in explanation.text


def test_a_latent_of_many_words_gets_instances_only() -> None:
    # Fifty words of 2% each: none has 4%.
    known = vocabulary(["<s>", *(f" w{i}" for i in range(50))])
    explanation = explain(latent(*((0, 1 + i, 1.0) for i in range(50))), known)
    assert explanation is not None
    assert explanation.text == (
        "Active on many different words, such as “w0”, “w1”, “w2”, “w3”, “w4”, “w5”, “w6”, “w7”."
    )
    assert "%" not in explanation.text


def test_a_dead_latent_has_no_explanation() -> None:
    assert explain(latent(), vocabulary(["<s>", " a"])) is None


def test_a_word_may_be_several_tokens() -> None:
    tokens = ["<s>", " A", " pal", "imp", "sest", ",", " pal"]
    known = vocabulary(tokens)
    assert words(*tokens[1:]) == ["a", "palimpsest", "palimpsest", "palimpsest", ",", "pal"]
    explanation = explain(latent((0, 3, 1.0), (0, 4, 1.0)), known)
    assert explanation is not None
    # Active on two of the word's three tokens; before all of them comes "a".
    assert explanation.text == "Active on “palimpsest” (100%), mostly after “a”."
    assert explanation.precision == pytest.approx(2 / 3)


def test_words_end_at_white_space_and_punctuation() -> None:
    assert words(" don", "'t", " stop") == ["don", "'t", "stop"]
    assert words("end", ".", "Next") == ["end", ".", "next"]
    assert words("(", "see", ")") == ["(", "see", ")"]
    assert words(" 19", "45", "-", "46") == ["1945", "1945", "-", "46"]
    assert words("end ", "next") == ["end", "next"]
    assert words(" ÉT", "É") == ["été", "été"]


def test_line_breaks_and_spaces_are_visible() -> None:
    known = vocabulary(["<s>", " x", "\n", " ", "\n\n"])
    explanation = explain(latent((0, 2, 2.0), (0, 3, 1.0), (0, 4, 1.0)), known)
    assert explanation is not None
    assert explanation.text.startswith("Active on a line break (75%), a space (25%), mostly after")
    assert "\n" not in explanation.text


def test_nothing_before_the_first_position_is_a_word() -> None:
    found = Vocabulary.of([["<s>", " a", " b"]], first_position=1)
    assert found.words == ["a", "b"]
    assert found.word_of.tolist() == [[-1, 0, 1]]
    assert found.before.tolist() == [[-1, -1, 0]]
    without = Vocabulary.of([["The", " a", " b"]], first_position=0)
    assert without.word_of.tolist() == [[0, 1, 2]]


TOKENS = st.sampled_from([" a", " B", "c", "d", ".", "\n", " ", "'s", "", "é", "1"])


@given(st.lists(st.lists(TOKENS, min_size=5, max_size=5), min_size=1, max_size=4))
def test_every_token_is_part_of_exactly_one_word(texts: list[list[str]]) -> None:
    found = Vocabulary.of([["<s>", *text] for text in texts], first_position=1)
    assert (found.word_of[:, 0] == -1).all()
    assert (found.word_of[:, 1:] >= 0).all()
    assert found.counts.sum() == 5 * len(texts)
    assert len(set(found.words)) == len(found.words)
    for text, row in zip(texts, found.word_of[:, 1:], strict=True):
        for token, word in zip(text, row, strict=True):
            assert token.strip().lower() in found.words[word]
