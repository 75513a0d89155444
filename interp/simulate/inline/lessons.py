"""The training data of the inline simulator: contexts of a latent, and the digits on them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from torch import Tensor, nn

from interp.errors import InputError
from interp.simulate.inline.base import Base, Text
from interp.simulate.protocol import TOP
from interp.simulate.training.corpus import MIN_RATE, Corpus, split_text


class Drawn(NamedTuple):
    """Contexts drawn for a latent, and what each counts."""

    contexts: NDArray[np.int64]
    weights: NDArray[np.float32]
    """The mean of weight × value over the drawn contexts is, in expectation, the mean value over
    all contexts."""


def draw_contexts(
    firing: NDArray[np.int64], silent: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Drawn:
    """Draw contexts, half where a latent fires, half where it is silent.

    If one half has too few contexts, it gives all it has and the other makes up for it.
    """
    half = min(len(firing), max(count // 2, count - len(silent)))
    numbers = np.array([half, min(len(silent), count - half)])
    shares = np.array([len(firing), len(silent)]) / (len(firing) + len(silent))
    weights = shares * numbers.sum() / np.maximum(numbers, 1)
    return Drawn(
        np.concatenate(
            [
                rng.choice(part, number, replace=False)
                for part, number in zip((firing, silent), numbers, strict=True)
            ]
        ),
        np.repeat(weights, numbers).astype(np.float32),
    )


class Lessons:
    """Lessons drawn from a corpus: digits to learn, and the places where each latent fires."""

    def __init__(self, base: Base, corpus: Corpus, seed: int, say: Callable[[str], None]) -> None:
        """Has the base read all text.

        Raises:
            InputError: A context is too long for the base.
        """
        self.width = len(corpus.contexts[0])
        self.texts: list[Text] = []
        for start in range(0, len(corpus.contexts), 256):
            say(f"reading contexts {start:,} of {len(corpus.contexts):,}")
            read = base.texts(corpus.contexts[start : start + 256])
            self.texts += [text for text in read if text is not None]
        if len(self.texts) < len(corpus.contexts):
            raise InputError("The contexts are longer than the base can read. Use another base.")
        text, aside = split_text(corpus, seed)
        self.text, self.aside = (np.unique(rows // self.width) for rows in (text, aside))
        self.columns = csc_matrix(corpus.activations)
        self.maxima = np.asarray(self.columns.max(axis=0).todense()).ravel()
        rate = np.diff(self.columns.indptr) / self.columns.shape[0]
        weight = np.maximum(rate, MIN_RATE) ** -0.5
        self.weight = weight / weight[sorted(corpus.explanations)].mean()

    def activations(
        self, latent: int, contexts: NDArray[np.int64]
    ) -> Float[np.ndarray, "context place"]:
        """A latent's activations on some contexts."""
        rows = contexts[:, None] * self.width + np.arange(self.width)
        found = self.columns[:, [latent]].toarray()[:, 0][rows]
        return np.asarray(found, np.float32)

    def digits(self, latent: int, contexts: NDArray[np.int64]) -> Int[Tensor, "context place"]:
        """The digits to learn: 9 × activation / maximum, rounded half up; an active token has at
        least 1."""
        active = self.activations(latent, contexts)
        digits = np.floor(TOP * active / max(self.maxima[latent], 1e-9) + 0.5)
        return torch.from_numpy(np.where(active > 0, digits.clip(1, TOP), 0)).long()

    def draw(
        self, latent: int, contexts: NDArray[np.int64], count: int, rng: np.random.Generator
    ) -> Drawn:
        """Draw some of the contexts, see :func:`draw_contexts`."""
        column = slice(*self.columns.indptr[latent : latent + 2])
        fires = np.isin(contexts, self.columns.indices[column] // self.width)
        return draw_contexts(contexts[fires], contexts[~fires], count, rng)

    def logits(
        self, base: Base, explanation: str, contexts: NDArray[np.int64]
    ) -> Float[Tensor, "context place digit"]:
        """The logits of the fold in use for an explanation on some contexts."""
        texts = [self.texts[i] for i in contexts]
        return torch.stack(base.logits(base.read(base.explanation(explanation)), texts))

    def loss(
        self,
        base: Base,
        latent: int,
        explanation: str,
        contexts: NDArray[np.int64],
        weights: Float[np.ndarray, "context"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the digits, where each context counts as its weight says."""
        logits = self.logits(base, explanation, contexts)
        target = self.digits(latent, contexts).to(logits.device)
        errors = nn.functional.cross_entropy(logits.mT, target, reduction="none")
        return (errors * torch.from_numpy(weights)[:, None].to(errors)).mean()
