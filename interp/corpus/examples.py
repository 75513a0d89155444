"""Choose the contexts that show what a latent does."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from interp.corpus.activations import LatentActivations
from interp.vocabulary import ExampleKind


class Example(NamedTuple):
    """A context with one latent's activations on it."""

    kind: ExampleKind
    rank: int
    context: int
    """Row of the context in its set."""
    activations: NDArray[np.float32]
    """Shape (seq,)."""


def sample_examples(
    latent: LatentActivations,
    *,
    contexts: int,
    seq: int,
    top: int,
    quantile: int,
    random: int,
    seed: int,
) -> list[Example]:
    """Draw three kinds of examples, no context twice.

    ``top`` are the contexts with the largest activations. ``quantile`` contexts are spread evenly
    over the rest of the distribution of each context's largest activation, strongest first, because
    a latent's maximum does not show what it mostly does. ``random`` contexts are drawn from the
    whole set without regard to the latent, and so mostly show where it is silent.

    Args:
        contexts: Number of contexts of the set.
        seed: Fixes the random draw.
    """
    rng = np.random.default_rng(seed)
    rows, first = np.unique(latent.contexts, return_index=True)
    peaks = np.maximum.reduceat(latent.activations, first) if len(rows) else np.empty(0)
    ranked = rows[np.argsort(-peaks, kind="stable")]
    rest = ranked[top:]
    spread = rest[np.linspace(0, len(rest) - 1, min(quantile, len(rest))).round().astype(int)]
    taken = {*ranked[:top].tolist(), *spread.tolist()}
    draw = rng.choice(contexts, size=min(contexts, random + len(taken)), replace=False)
    silent = [row for row in draw.tolist() if row not in taken][:random]
    chosen: list[tuple[ExampleKind, int, int]] = [
        *((ExampleKind.TOP, i, row) for i, row in enumerate(ranked[:top].tolist())),
        *((ExampleKind.QUANTILE, i, row) for i, row in enumerate(spread.tolist())),
        *((ExampleKind.RANDOM, i, row) for i, row in enumerate(silent)),
    ]
    dense = latent.dense([row for _, _, row in chosen], seq)
    return [Example(kind, rank, row, dense[i]) for i, (kind, rank, row) in enumerate(chosen)]


class Occurrences(NamedTuple):
    """The contexts that hold a token, for each token."""

    contexts: Int[np.ndarray, "entry"]
    """By token id, and for each id ascending; a context that holds a token twice stands once."""
    bounds: Int[np.ndarray, "id+1"]
    """Token id ``i`` has the entries ``bounds[i]`` to ``bounds[i + 1]``."""

    @classmethod
    def of(cls, tokens: Int[np.ndarray, "context seq"], *, first_position: int) -> "Occurrences":
        ids = tokens[:, first_position:]
        order = ids.ravel().argsort(kind="stable")
        sorted_ids, contexts = ids.ravel()[order], order // max(ids.shape[1], 1)
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(sorted_ids) != 0) | (np.diff(contexts) != 0)
        counts = np.bincount(sorted_ids[new], minlength=int(tokens.max(initial=-1)) + 1)
        return cls(contexts[new], np.concatenate([[0], counts.cumsum()]))

    def of_token(self, token: int) -> Int[np.ndarray, "context"]:
        return self.contexts[self.bounds[token] : self.bounds[token + 1]]


def sample_hard_negatives(
    latent: LatentActivations,
    tokens: Int[np.ndarray, "context seq"],
    occurrences: Occurrences,
    *,
    first_position: int,
    count: int,
    seed: int,
) -> list[Example]:
    """Draw contexts where a latent is silent, but which hold tokens that it is active on elsewhere.

    The tokens on which it is active most often come first: one context for each, then a second one,
    and so on. If these give too few contexts, the tokens just before the active ones are taken in
    the same way. The examples have kind ``hard_negative``.

    Args:
        tokens: Token ids of the whole set.
        occurrences: Of the same tokens.
        seed: Fixes which contexts of a token are drawn.
    """
    rng = np.random.default_rng(seed)
    inside = latent.positions > first_position
    active = tokens[latent.contexts, latent.positions]
    before = tokens[latent.contexts[inside], latent.positions[inside] - 1]
    free = np.ones(len(tokens), bool)
    free[latent.contexts] = False
    chosen: list[int] = []
    for ids in (active, before):
        for row in islice(_in_turn(ids, occurrences, free, count, rng), count - len(chosen)):
            free[row] = False
            chosen.append(row)
    silent = np.zeros(tokens.shape[1], np.float32)
    return [
        Example(ExampleKind.HARD_NEGATIVE, rank, row, silent) for rank, row in enumerate(chosen)
    ]


def _in_turn(
    ids: Int[np.ndarray, "entry"],
    occurrences: Occurrences,
    free: NDArray[np.bool_],
    count: int,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Contexts of the most frequent tokens, one of each in turn, that are free."""
    found, counts = np.unique(ids, return_counts=True)
    queues: list[list[int]] = []
    for token in found[np.argsort(-counts, kind="stable")].tolist():
        rows = occurrences.of_token(token)
        rows = rows[free[rows]]
        if len(rows):
            queues.append(rng.permutation(rows)[:count].tolist())
        if len(queues) == count:
            break
    while any(queues):
        for queue in queues:
            while queue:
                row = queue.pop(0)
                if free[row]:
                    yield row
                    break
