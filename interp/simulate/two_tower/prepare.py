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


class Read(NamedTuple):
    """The base's states of the training text and the explanations of one study."""

    tokens: Float[Tensor, "token feature"]
    explanations: list[Float[Tensor, "token feature"]]
    owner: NDArray[np.int64]
    """Latent of each explanation."""
    reworded: NDArray[np.bool_]
    """True of those that are rewordings: they are trained on, and no figure rests on them."""


class Prepared(NamedTuple):
    """The states of all studies, reduced alike."""

    projection: Projection
    studies: list[Read]


def prepare(
    reader: Reader,
    corpora: Sequence[Corpus],
    shape: Shape,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Prepared:
    """Have the base read all text and all explanations.

    Text that several studies share, token by token, is read once.
    """
    rng = np.random.default_rng(seed)
    contexts: list[list[list[str]]] = []
    for corpus in corpora:
        contexts += [corpus.contexts] if corpus.contexts not in contexts else []
    texts = [[reader.text(tokens) for tokens in some] for some in contexts]
    say("reading text to fit the projection")
    sample = [
        some[i]
        for some, own in zip(texts, contexts, strict=True)
        for i in rng.permutation(len(some))[: max(1, FIT_TOKENS // len(texts) // len(own[0]))]
    ]
    projection = Projection.fit(torch.cat(reader.states(sample)), shape.features)

    def features(texts: Sequence[Aligned], what: str) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(texts), 256):
            say(f"reading {what} {start:,} of {len(texts):,}")
            found += [projection(one).half() for one in reader.states(texts[start : start + 256])]
        return found

    tokens = [torch.cat(features(some, "contexts")) for some in texts]
    studies = []
    for corpus in corpora:
        triples = [
            (latent, text, reworded)
            for reworded, all_ in ((False, corpus.explanations), (True, corpus.rewordings))
            for latent, some in sorted(all_.items())
            for text in some
        ]
        # Long and short ones together would be read slowly.
        triples.sort(key=lambda one: len(one[1]))
        studies.append(
            Read(
                tokens[contexts.index(corpus.contexts)],
                features([reader.explanation(text) for _, text, _ in triples], "explanations"),
                np.array([latent for latent, _, _ in triples]),
                np.array([reworded for _, _, reworded in triples]),
            )
        )
    return Prepared(projection, studies)


def restored(path: Path, make: Callable[[], Prepared]) -> Prepared:
    """Load the states that were prepared before an interruption, or prepare and keep them."""
    if path.exists():
        state = torch.load(path, weights_only=False)
        return Prepared(Projection(**state["projection"]), [Read(**r) for r in state["studies"]])
    made = make()
    partial = path.with_suffix(".partial")
    studies = [study._asdict() for study in made.studies]
    torch.save({"projection": made.projection._asdict(), "studies": studies}, partial)
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
