"""Line up the tokens of two tokenizers, so that any model can simulate any other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from interp.corpus.text import encode_placed
from interp.errors import InputError


class Aligned(NamedTuple):
    """A text in the simulator's tokens, and where the subject's tokens are in it."""

    ids: list[int]
    """The simulator's tokens, without special ones."""
    places: NDArray[np.int64]
    """For each subject token, the simulator token that covers its last character."""


def align(tokens: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Aligned:
    """Tokenize a text for a simulator, given as the subject's token strings.

    A subject token takes the simulator token that covers its last character. A causal simulator has
    then read the whole token, and as little as possible of the text after it. A token without
    characters takes the place of the one before it, or the first place.

    Raises:
        InputError: The tokenizer gives no character offsets (it is not a fast one), or the text
            is empty.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"The tokenizer of {tokenizer.name_or_path} gives no character offsets, so its tokens "
            "cannot be lined up with the subject's. Use a model with a fast tokenizer."
        )
    encoded = encode_placed(tokenizer, "".join(tokens))
    starts = np.array(encoded.starts, np.int64)
    if not len(starts):
        raise InputError("A text without characters cannot be simulated.")
    last = np.cumsum([len(token) for token in tokens]) - 1
    # Tokens that share a character, as the bytes of one emoji do, all start there: the last counts.
    places = np.searchsorted(starts, last, side="right") - 1
    return Aligned(encoded.ids, np.maximum(places, 0))
