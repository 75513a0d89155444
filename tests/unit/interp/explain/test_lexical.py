"""Explanations made by counting words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.corpus.activations import LatentActivations
from interp.explain.lexical import LexicalExplanation, Term, explain
from interp.explain.vocabulary import Vocabulary


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


FILLER = ["<s>", *(f" x{i}" for i in range(60))]
"""Text on which nothing is active, so that the mean activation is small as it is in truth."""


def padded(*contexts: list[str]) -> Vocabulary:
    """The vocabulary of some contexts among much other text."""
    width = len(FILLER)
    full = [[*tokens, *FILLER[len(tokens) :]] for tokens in contexts]
    return vocabulary(*full, *([FILLER[:width]] * 20))


def test_words_their_shares_and_how_often_worked_by_hand() -> None:
    known = padded(
        ["<s>", " dog", " cat", " a", " dog", " horse", " e", " horse", " cat", " i", " cow"],
        ["<s>", " dog", " cow", " cat", " o", " cow", " horse", " u", " horse", " cat", " a"],
    )
    active = latent(
        *((0, 1, 4.0), (0, 4, 4.0), (1, 1, 4.0)),  # dog: 3 of 3
        *((0, 2, 4.0), (0, 8, 4.0)),  # cat: 2 of 4
        *((0, 5, 4.0),),  # horse: 1 of 4
    )
    explanation = explain(active, known)
    assert explanation is not None
    # 12, 8 and 4 of 24. No pair of words was seen active twice.
    assert explanation.text == (
        "Active on “dog” (50%); often on “cat” (33%); sometimes on “horse” (17%)."
    )
    assert explanation.coverage == 1.0
    # 6 active tokens of 3 + 4 + 4.
    assert explanation.precision == pytest.approx(6 / 11)
    assert explanation.terms == [
        Term("dog", 1 / 2, 1.0),
        Term("cat", pytest.approx(1 / 3), 2 / 4),
        Term("horse", pytest.approx(1 / 6), 1 / 4),
    ]


def test_a_word_that_counts_only_after_others() -> None:
    # “-” ten times: after “short” and “long” always, after “x0” never.
    tokens = ["<s>", *([" short", "-", " long", "-"] * 2), *([" x0", "-"] * 6)]
    active = latent(*((0, 2 * i, 3.0) for i in range(1, 5)))
    explanation = explain(active, padded(tokens))
    assert explanation is not None
    assert explanation.text == "Active on “-” (100%, after “short” or “long”)."
    assert explanation.precision == explanation.coverage == 1.0
    (term,) = explanation.terms
    assert term == Term("-", 1.0, None, ("short", "long"), 1.0)


def test_a_word_that_counts_more_after_another() -> None:
    # “of” is active three times of four after “most”, weakly four times of twelve elsewhere.
    tokens = ["<s>", *([" most", " of"] * 4), *(t for i in range(12) for t in (f" x{i}", " of"))]
    strong = [(0, 2 * i, 8.0) for i in range(1, 4)]
    weak = [(0, 2 * i, 3.0) for i in range(5, 9)]
    explanation = explain(latent(*strong, *weak), padded(tokens))
    assert explanation is not None
    (term,) = explanation.terms
    assert term.after[0] == "most"
    assert "“of” (100%, especially after “most”" in explanation.text
    assert explanation.text.startswith("Active sometimes on")


def test_pairs_are_not_named_where_the_word_says_it_all() -> None:
    # “dog” is always active, and always after “the”.
    known = padded(["<s>", *([" the", " dog", " x1"] * 5)])
    explanation = explain(latent(*((0, 3 * i + 2, 1.0) for i in range(5))), known)
    assert explanation is not None
    assert explanation.text == "Active on “dog” (100%)."


def test_what_follows_is_not_looked_at() -> None:
    # “b” is active before “c” and silent before “d”, or the other way round.
    known = padded(["<s>", *([" a", " b", " c", " a", " b", " d"] * 4)])
    before_c = explain(latent(*((0, 2 + 6 * i, 1.0) for i in range(4))), known)
    before_d = explain(latent(*((0, 5 + 6 * i, 1.0) for i in range(4))), known)
    assert before_c == before_d
    assert before_c is not None
    assert before_c.text == "Active often on “b” (100%)."


def test_words_with_little_of_the_activation_are_not_named() -> None:
    known = padded(["<s>", " a", " b", " c", " d"])
    explanation = explain(latent((0, 1, 60), (0, 2, 30), (0, 3, 29.2), (0, 4, 0.8)), known)
    assert explanation is not None
    assert "“c” (24%)" in explanation.text
    assert "“d”" not in explanation.text
    assert explanation.coverage == pytest.approx(1 - 0.8 / 120)


def test_other_words_are_said_to_be_there() -> None:
    # Forty words of one token, 2.5% each: fourteen of them are 35%.
    known = padded(["<s>", *(f" w{i}" for i in range(40))])
    explanation = explain(latent(*((0, 1 + i, 1.0) for i in range(40))), known)
    assert explanation is not None
    assert explanation.coverage == pytest.approx(0.35)
    assert explanation.text.endswith("; and on other words.")
    assert explanation.text.count("“") == 14


def test_a_latent_of_many_words_gets_instances_and_no_figures() -> None:
    # Sixty words of less than 2%: fourteen of them are less than a quarter.
    known = padded(["<s>", *(f" w{i}" for i in range(60))])
    explanation = explain(latent(*((0, 1 + i, 1.0) for i in range(60))), known)
    assert explanation is not None
    assert explanation.text == (
        "Active on many different words, such as "
        "“w0”, “w1”, “w2”, “w3”, “w4”, “w5”, “w6”, “w7”, “w8”, “w9”."
    )
    assert explanation.coverage is explanation.precision is None


def test_instances_say_what_often_precedes() -> None:
    tokens = ["<s>", *(t for i in range(60) for t in (" be", f" w{i}"))]
    explanation = explain(latent(*((0, 2 + 2 * i, 1.0) for i in range(60))), vocabulary(tokens))
    assert explanation is not None
    assert explanation.text.endswith("“w9”, often after “be”.")


def test_a_dead_latent_has_no_explanation() -> None:
    assert explain(latent(), vocabulary(["<s>", " a"])) is None


def test_a_word_may_be_several_tokens() -> None:
    tokens = ["<s>", " A", " pal", "imp", "sest", ",", " pal"]
    known = vocabulary(tokens)
    assert words(*tokens[1:]) == ["a", "palimpsest", "palimpsest", "palimpsest", ",", "pal"]
    explanation = explain(latent((0, 3, 1.0), (0, 4, 1.0)), known)
    assert explanation is not None
    # Active on two of the word's three tokens.
    assert explanation.text == "Active often on “palimpsest” (100%)."
    assert explanation.precision == pytest.approx(2 / 3)


def test_words_end_at_white_space_and_punctuation() -> None:
    assert words(" don", "'t", " stop") == ["don", "'t", "stop"]
    assert words("end", ".", "Next") == ["end", ".", "next"]
    assert words("(", "see", ")") == ["(", "see", ")"]
    assert words(" 19", "45", "-", "46") == ["1945", "1945", "-", "46"]
    assert words("end ", "next") == ["end", "next"]
    assert words(" ÉT", "É") == ["été", "été"]


def test_line_breaks_and_spaces_are_visible() -> None:
    known = padded(["<s>", *([" x", "\n", " y", "\n\n", " x", " ", " -"] * 3)])
    active = latent(*((0, 7 * i + at, 1.0) for i in range(3) for at in (2, 6, 7)))
    explanation = explain(active, known)
    assert explanation is not None
    # Of the line breaks only those after “x” count; a space is always active, and so is “-”.
    assert explanation.text == (
        "Active on a space (33%), “-” (33%), a line break (33%, after “x”)."
    )


def test_the_pieces_of_a_character_are_part_of_its_word() -> None:
    assert words(" caf", "", "é", " ", "", "", "日", " x") == ["café"] * 3 + [""] + ["日"] * 3 + [
        "x"
    ]


def test_nothing_before_the_first_position_is_a_word() -> None:
    found = Vocabulary.of([["<s>", " a", " b"]], first_position=1)
    assert found.words == ["a", "b"]
    assert found.word_of.tolist() == [[-1, 0, 1]]
    assert found.before.tolist() == [[-1, -1, 0]]
    without = Vocabulary.of([["The", " a", " b"]], first_position=0)
    assert without.word_of.tolist() == [[0, 1, 2]]


TOKENS = st.sampled_from([" a", " B", "c", "d", ".", "\n", " ", "'s", "", "é", "1"])


@settings(deadline=None)
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


def plainly(explanation: LexicalExplanation, active: LatentActivations, known: Vocabulary) -> None:
    """Hold an explanation's figures against a count token by token."""
    real = np.zeros(known.word_of.shape)
    real[active.contexts, active.positions] = active.activations
    named, hits, tokens = 0.0, 0, 0
    for term in explanation.terms:
        after = {known.words.index(word) for word in term.after}
        of_word = known.word_of == known.words.index(term.word)
        in_after = of_word & np.isin(known.before, list(after))
        outside = of_word & ~in_after
        if after:
            assert term.rate_after == pytest.approx((real[in_after] > 0).mean())
        if term.rate is not None:
            assert term.rate == pytest.approx((real[outside] > 0).mean())
        said = of_word if term.rate is not None else in_after
        assert term.share == pytest.approx(real[said].sum() / real.sum())
        named, hits, tokens = (
            named + real[said].sum(),
            hits + (real[said] > 0).sum(),
            tokens + said.sum(),
        )
    if explanation.coverage is not None:
        assert explanation.coverage == pytest.approx(named / real.sum())
        assert explanation.precision == pytest.approx(hits / tokens)


@settings(deadline=None)
@given(
    st.lists(st.lists(TOKENS, min_size=12, max_size=12), min_size=1, max_size=4),
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(1, 12)), st.floats(0.125, 8, width=32), min_size=1
    ),
)
def test_figures_are_those_of_a_plain_count(
    texts: list[list[str]], entries: dict[tuple[int, int], float]
) -> None:
    known = Vocabulary.of([["<s>", *text] for text in texts], first_position=1)
    inside = sorted((*where, value) for where, value in entries.items() if where[0] < len(texts))
    explanation = explain(latent(*inside), known)
    if not inside:
        assert explanation is None
        return
    assert explanation is not None
    plainly(explanation, latent(*inside), known)
    assert explanation.terms
    for term in explanation.terms:
        assert (term.rate is not None) or term.after
        assert (term.rate_after is None) == (not term.after)
    named = sum(1 + len(term.after) for term in explanation.terms)
    assert named <= 14
    assert len(explanation.text.split()) <= 60


def test_a_sentence_is_worth_more_than_its_words_alone() -> None:
    # “of” after three words of ten: guessing by word and word before, as the sentence tells it,
    # correlates better with the truth than guessing by the word.
    rng = np.random.default_rng(0)
    heads = [f"h{i}" for i in range(10)]
    text = [t for _ in range(400) for t in (f" {heads[rng.integers(10)]}", " of", " x")]
    known = vocabulary(["<s>", *text])
    where = [i + 1 for i, t in enumerate(text) if t == " of" and text[i - 1] in (" h1", " h4")]
    explanation = explain(latent(*((0, i, 1.0) for i in where)), known)
    assert explanation is not None
    assert explanation.text in (
        "Active on “of” (100%, after “h1” or “h4”).",
        "Active on “of” (100%, after “h4” or “h1”).",
    )
