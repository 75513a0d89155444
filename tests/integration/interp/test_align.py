"""Lining up the real model's tokens with another tokenizer's."""

from functools import cache
from itertools import accumulate
from pathlib import Path
from string import printable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.errors import InputError
from interp.simulate.training.align import align

PIECES = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from([" the", "the", " palimpsest", " ", "\n\n", "🙂", "👩‍🚀", "é", "�", ""]),
    ),
    min_size=1,
    max_size=20,
)
"""Any strings, of which some are words, white space, emoji or nothing."""


@cache
def _smollm2(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer(model_cache: Path) -> PreTrainedTokenizerFast:
    return _smollm2(model_cache / "smollm2-135m-instruct")


def plainly(pieces: list[str], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """For each piece the last token that has the piece's last character, looked for one by one.

    A few control characters are in no token: then the last character before them counts.
    """
    spans = tokenizer("".join(pieces), return_offsets_mapping=True).offset_mapping
    found = []
    for end in accumulate(map(len, pieces)):
        has: list[int] = []
        for last in range(end - 1, -1, -1):
            has = has or [i for i, (start, stop) in enumerate(spans) if start <= last < stop]
        found.append(has[-1] if has else 0)
    return found


@settings(deadline=None)
@given(PIECES)
@example(["a🙂", "", "b", " "])
@example(["", "\u200d", "🙂"])
@example(["\x04", "a", "\x04"])
def test_a_piece_is_where_its_last_character_is(
    tokenizer: PreTrainedTokenizerFast, pieces: list[str]
) -> None:
    ids = tokenizer("".join(pieces)).input_ids
    if not ids:
        with pytest.raises(InputError, match="cannot be simulated"):
            align(pieces, tokenizer)
        return
    found = align(pieces, tokenizer)
    assert found.ids == ids
    assert found.places.tolist() == plainly(pieces, tokenizer)
    # In the order of the text, and to its end.
    assert (np.diff(found.places) >= 0).all()
    assert found.places[-1] == len(found.ids) - 1


@settings(deadline=None)
@given(st.text(printable, min_size=1))
@example("It’s 1,005 of them.\n\nNothing")
def test_a_tokenizer_is_in_line_with_itself(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text).input_ids
    found = align([tokenizer.decode([i]) for i in ids], tokenizer)
    assert found.ids == ids
    assert found.places.tolist() == list(range(len(ids)))
