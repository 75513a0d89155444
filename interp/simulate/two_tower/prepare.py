"""The training data of the two-tower simulator. The base reads it once for all folds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from interp.simulate.training.align import Aligned
from interp.simulate.training.corpus import MIN_RATE, Corpus
from interp.simulate.training.reader import Reader
from interp.simulate.two_tower.networks import Projection, Shape

FIT_TOKENS = 40_000
"""The projection is fitted on so many tokens at most."""


class Prepared(NamedTuple):
    """The base's states of the training text and the explanations."""

    projection: Projection
    tokens: Float[Tensor, "token feature"]
    explanations: list[Float[Tensor, "token feature"]]
    owner: NDArray[np.int64]
    """Latent of each explanation."""


def prepare(
    reader: Reader, corpus: Corpus, shape: Shape, *, seed: int, say: Callable[[str], None]
) -> Prepared:
    """Have the base read all text and all explanations."""
    rng = np.random.default_rng(seed)
    texts = [reader.text(tokens) for tokens in corpus.contexts]
    per_context = len(corpus.contexts[0])
    sample = rng.permutation(len(texts))[: max(1, FIT_TOKENS // per_context)]
    say("reading text to fit the projection")
    projection = Projection.fit(
        torch.cat(reader.states([texts[i] for i in sample])), shape.features
    )

    def features(texts: Sequence[Aligned], what: str) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(texts), 256):
            say(f"reading {what} {start:,} of {len(texts):,}")
            found += [projection(one).half() for one in reader.states(texts[start : start + 256])]
        return found

    pairs = [
        (latent, text) for latent, all_ in sorted(corpus.explanations.items()) for text in all_
    ]
    return Prepared(
        projection,
        torch.cat(features(texts, "contexts")),
        features([reader.explanation(text) for _, text in pairs], "explanations"),
        np.array([latent for latent, _ in pairs]),
    )


def restored(path: Path, make: Callable[[], Prepared]) -> Prepared:
    """Load the states that were prepared before an interruption, or prepare and keep them."""
    if path.exists():
        state = torch.load(path, weights_only=False)
        return Prepared(Projection(**state.pop("projection")), **state)
    made = make()
    partial = path.with_suffix(".partial")
    torch.save(made._asdict() | {"projection": made.projection._asdict()}, partial)
    partial.replace(path)
    return made


def targets(corpus: Corpus) -> tuple[csr_matrix, NDArray[np.float32]]:
    """Activations as shares of each latent's maximum, and the latents' weights in the loss."""
    maxima = np.asarray(corpus.activations.max(axis=0).todense()).ravel()
    inverse = np.divide(1.0, maxima, out=np.zeros_like(maxima), where=maxima > 0)
    share = corpus.activations.multiply(inverse[None]).tocsr().astype(np.float32)
    rate = corpus.activations.getnnz(axis=0) / corpus.activations.shape[0]
    weight = np.maximum(rate, MIN_RATE) ** -0.5
    taught = weight[sorted(corpus.explanations)]
    return share, (weight / taught.mean()).astype(np.float32)
