"""The training data of simulators: activations on text, explanations, and how both are held out.

Latents are dealt into folds. A fold is trained on the latents of the others, and watched on a few
of those, on text set aside. It never sees its own latents.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from interp.corpus.seen import SeenText
from interp.errors import InputError

VALIDATION_TEXT = 0.1
"""Share of the contexts that are set aside to watch the training on."""
VALIDATION_LATENTS = 0.05
"""Share of a fold's training latents that are set aside to watch the training on."""
MIN_RATE = 2e-4
"""Latents that fire more rarely weigh no more than this rate would."""
ALIKE = 0.5
"""Cosine of the activations of two coders' latents from which they are held out together."""
MIN_ACTIVE = 5
"""A correlation on fewer active tokens says nothing and is left out of the figures."""


class Corpus(NamedTuple):
    """One coder's activations on contexts of explain documents, and explanations of its latents."""

    coder: str
    """SHA-256 of the coder's weights."""
    contexts: list[list[str]]
    """Token strings, without the positions that are not simulated."""
    activations: csr_matrix
    """Shape (token, latent), tokens in the order of ``contexts``."""
    explanations: dict[int, list[str]]
    """By latent; those that are not there are not trained on."""
    rewordings: Mapping[int, Sequence[str]] = MappingProxyType({})
    """Other wordings of them, by rule or from a file: trained on, but no figure rests on them."""


class TrainingText(NamedTuple):
    """The documents that the contexts come from."""

    corpus: str
    documents: list[str]
    seen: SeenText | None = None
    """None where the study was collected before texts were told apart by content."""

    @classmethod
    def joined(cls, texts: Sequence[Self]) -> Self:
        """The text of several studies."""
        known = [text.seen for text in texts if text.seen is not None]
        return cls(
            ", ".join(dict.fromkeys(text.corpus for text in texts)),
            sorted({name for text in texts for name in text.documents}),
            SeenText.joined(known) if len(known) == len(texts) else None,
        )


def deal(latents: Sequence[int], folds: int, *, seed: int) -> dict[int, int]:
    """Deal latents into folds at random: the fold that each is held out from."""
    order = np.random.default_rng(seed).permutation(sorted(latents))
    return {int(latent): i % folds for i, latent in enumerate(order)}


def deal_all(corpora: Sequence[Corpus], folds: int, *, seed: int) -> list[dict[int, int]]:
    """Deal the latents of each study, so that no fold is trained on the double of one that it holds
    out.

    Coders of one model find much the same features. So a latent goes with the one most like it in
    the first study before it that has the same text, if their activations on it are as near as
    ``ALIKE``.
    """
    dealt: list[dict[int, int]] = []
    for number, corpus in enumerate(corpora):
        own = deal(list(corpus.explanations), folds, seed=seed)
        for other, held_out in zip(corpora[:number], dealt, strict=True):
            if other.contexts == corpus.contexts:
                nearest, cosine = _most_alike(corpus.activations, other.activations)
                for latent in own:
                    if cosine[latent] >= ALIKE and nearest[latent] in held_out:
                        own[latent] = held_out[int(nearest[latent])]
                break
        dealt.append(own)
    return dealt


def _most_alike(
    ones: csr_matrix, others: csr_matrix
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each column, the column of the other matrix with the largest cosine, and that cosine."""
    cosines = (normalize(ones, axis=0).T @ normalize(others, axis=0)).tocsr()
    return np.asarray(cosines.argmax(axis=1)).ravel(), cosines.max(axis=1).toarray().ravel()


class Dealt(NamedTuple):
    """The latents of one fold's training."""

    seen: list[int]
    """Latents that it is trained on or chosen by."""
    taught: NDArray[np.int64]
    watched: list[int]
    """Latents that the training is watched on."""


def latents_of(held_out: Mapping[int, int], fold: int, folds: int, *, seed: int) -> Dealt:
    """The latents that a fold is trained on, and those it is watched on.

    Args:
        held_out: The fold that each latent is held out from.

    Raises:
        InputError: There are too few latents.
    """
    seen = [latent for latent in sorted(held_out) if held_out[latent] != fold]
    if not seen:
        raise InputError(f"{len(held_out)} latents are too few for {folds} folds.")
    rng = np.random.default_rng([seed, fold])
    watched = rng.permutation(seen)[: max(1, round(VALIDATION_LATENTS * len(seen)))]
    return Dealt([int(one) for one in seen], np.setdiff1d(seen, watched), watched.tolist())


def split_text(corpus: Corpus, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token rows to train on, and those of the contexts that are set aside."""
    width = len(corpus.contexts[0])
    order = np.random.default_rng(seed).permutation(len(corpus.contexts))
    aside = order[: max(1, round(VALIDATION_TEXT * len(order)))]
    rows = np.arange(len(order) * width).reshape(len(order), width)
    return np.delete(rows, aside, axis=0).ravel(), rows[np.sort(aside)].ravel()
