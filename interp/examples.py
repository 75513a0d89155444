"""Choose the contexts that show what a latent does."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.activations import LatentActivations

Kind = Literal["top", "quantile", "random"]


class Example(NamedTuple):
    """A context with one latent's activations on it."""

    kind: Kind
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
    over the rest of the distribution of each context's largest activation, strongest first: what a
    latent does at its maximum is not what it does most of the time. ``random`` contexts are drawn
    from the whole set without regard to the latent, and so mostly show where it is silent.

    Args:
        contexts: How many contexts the set has.
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
    chosen: list[tuple[Kind, int, int]] = [
        *(("top", i, row) for i, row in enumerate(ranked[:top].tolist())),
        *(("quantile", i, row) for i, row in enumerate(spread.tolist())),
        *(("random", i, row) for i, row in enumerate(silent)),
    ]
    dense = latent.dense([row for _, _, row in chosen], seq)
    return [Example(kind, rank, row, dense[i]) for i, (kind, rank, row) in enumerate(chosen)]
