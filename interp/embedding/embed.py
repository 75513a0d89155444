"""The meaning of a text as a vector: for search by meaning, without a language model at hand.

The model is a table of one vector a token, distilled once from a sentence embedder
(:mod:`interp.embedding.distil`). A text is the mean of its tokens' vectors. That takes numpy and
microseconds, so the web server can embed what a person types. Imports no torch.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32

MODEL = "all-minilm-l6-v2"
"""Name under which `palimpsest fetch` knows the embedder."""
TOKENS = 256
"""Of longer texts the beginning counts."""


@cache
def _load(folder: Path):  # type: ignore[no-untyped-def]  # model2vec takes 0.2 seconds to import
    from model2vec import StaticModel

    return StaticModel.from_pretrained(folder, normalize=True, force_download=False)


def embed(folder: Path, texts: Sequence[str]) -> Float32[np.ndarray, "text dim"]:
    """Unit vectors of texts. A text without a known token is all zeros.

    Args:
        folder: Of the distilled model.
    """
    model = _load(folder)
    vectors = model.encode(list(texts), max_length=TOKENS, use_multiprocessing=False)
    return np.asarray(vectors, dtype=np.float32)
