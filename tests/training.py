"""Made-up words and latents that an inline simulator learns in seconds."""

from functools import cache

import numpy as np
from scipy.sparse import csr_matrix
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
)

from interp.simulate.inline.train import (
    Settings,
)
from interp.simulate.two_tower.train import Corpus

WORDS, DIGIT, NEWLINE, BOS = 38, 38, 48, 49
"""Words are tokens 0 to 37; the first digit, the end of a line, and what begins a sequence."""


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, a digit or the end of a line."""
    names = [f"w{i}" for i in range(WORDS)] + [str(i) for i in range(10)] + ["\n", "<s>"]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^ \n]+"), "removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


# --- Training -------------------------------------------------------------------------------------


TAUGHT = 8


def corpus_of_words(contexts: int = 250, seq: int = 6, seed: int = 0) -> Corpus:
    """Latent i fires on the word ``wi``; the first eight have that word as their explanation."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(12, size=(contexts, seq))
    activations = csr_matrix(
        (np.full(ids.size, 2.0, np.float32), (np.arange(ids.size), ids.ravel())),
        shape=(ids.size, WORDS),
    )
    strings = [[f" w{i}" for i in row] for row in ids]
    return Corpus("coder", strings, activations, {i: [f"w{i}"] for i in range(TAUGHT)})


SETTINGS = Settings(
    folds=2, steps=60, latents=4, contexts=12, learning_rate=1e-2, check_every=20, patience=9
)
