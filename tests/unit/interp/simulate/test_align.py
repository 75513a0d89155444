"""Lining up the tokens of two tokenizers."""

import pytest
from transformers import PreTrainedTokenizer

from interp.errors import InputError
from interp.simulate.training.align import align
from tests.engine import word_tokenizer


def test_pieces_smaller_and_larger_than_words() -> None:
    found = align(["w1", " w", "2 w3", " w4"], word_tokenizer())
    assert found.ids == [1, 2, 3, 4]
    # What ends in white space or inside a word is at the word that began last.
    assert found.places.tolist() == [0, 1, 2, 3]


def test_what_ends_between_words_is_at_the_word_before() -> None:
    assert align(["w1 ", "w2"], word_tokenizer()).places.tolist() == [0, 1]
    assert align(["  ", "w1", " w2"], word_tokenizer()).places.tolist() == [0, 0, 1]


def test_text_that_a_tokenizer_has_no_token_for() -> None:
    with pytest.raises(InputError, match="cannot be simulated"):
        align([" ", "\n"], word_tokenizer())


class Slow(PreTrainedTokenizer):
    """A tokenizer in plain Python, which keeps no offsets."""

    @property
    def vocab_size(self) -> int:
        return 1

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}


def test_a_tokenizer_without_offsets_is_refused() -> None:
    with pytest.raises(InputError, match="gives no character offsets"):
        align(["a"], Slow())
