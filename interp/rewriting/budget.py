"""The error budget: how much of a layer's loss increase each error, and each group of latents, has.

The first-order attribution along the path from real latents to the layer rewritten gives a part of
the loss increase to each latent at each position. Here these parts are summed by error and by group
of latents. docs/method.md has the formulas and the limits.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from interp.corpus.activations import LatentActivations
from interp.scoring.statistics import UNDEFINED, Estimate, by_document, estimates_of_counts
from interp.vocabulary import BudgetSplit, LatentKind, PredictionError

FIRING_RATES = (
    (0.0001, "below 0.01%"),
    (0.001, "0.01% to 0.1%"),
    (0.01, "0.1% to 1%"),
    (np.inf, "1% or more"),
)
CALIBRATE_TOKENS = ((1, "none"), (10, "1 to 9"), (100, "10 to 99"), (np.inf, "100 or more"))
"""Bands of latents: the first value above each, and its name."""
UNKNOWN = "not known"
"""The band of latents whose figure is missing."""
HALF = 0.5
"""The share of a latent's activation that decides its kind."""
FEW = 10
"""Tokens of the vocabulary that are few; active tokens below which no kind can be told."""


class Entry(NamedTuple):
    """One error of one group of latents."""

    split: BudgetSplit
    group: str
    """A :class:`LatentKind`, or the name of a band. Empty for the whole layer."""
    error: PredictionError | None
    """None for all errors together."""
    latents: int
    effects: Float[np.ndarray, "context"]
    """Its part of each context's loss increase, in nats."""
    increase: Estimate
    """Their mean, in nats."""
    share: Estimate
    """Of the whole layer's estimate. Undefined where that is not clearly above zero."""


def budget(
    errors: Mapping[PredictionError, Float[np.ndarray, "context latent"]],
    groups: Mapping[BudgetSplit, Sequence[tuple[str, Bool[np.ndarray, "latent"]]]],
    documents: Sequence[str],
    *,
    seed: int,
) -> list[Entry]:
    """Sum effects by error and by group of latents, with intervals over documents.

    Args:
        errors: The effects of each latent on each context, in nats, by error.
        groups: The members of each group of a split. The whole layer is always the first entry.
    """
    latents = next(iter(errors.values())).shape[1]
    whole = {BudgetSplit.LAYER: [("", np.ones(latents, bool))]}
    found: list[tuple[BudgetSplit, str, PredictionError | None, int, NDArray[np.float64]]] = []
    for split, members in {**whole, **groups}.items():
        for group, inside in members:
            sums = {
                error: some[:, inside].sum(1, dtype=np.float64) for error, some in errors.items()
            }
            together = np.sum(list(sums.values()), axis=0)
            size = int(inside.sum())
            found.append((split, group, None, size, together))
            found += [(split, group, error, size, effects) for error, effects in sums.items()]
    effects = np.array([effects for *_, effects in found])
    increases = means(effects, documents, seed=seed)
    shares = [UNDEFINED] * len(found)
    if increases[0].low > 0:
        shares = _ratios(effects, effects[0], documents, seed=seed)
    return [Entry(*one, *both) for one, *both in zip(found, increases, shares, strict=True)]


def means(
    effects: Float[np.ndarray, "entry context"], documents: Sequence[str], *, seed: int
) -> list[Estimate]:
    """The mean of each entry over contexts, all on the same resamples of documents."""
    return _ratios(effects, np.ones(len(documents)), documents, seed=seed)


def _ratios(
    effects: Float[np.ndarray, "entry context"],
    of: Float[np.ndarray, "context"],
    documents: Sequence[str],
    *,
    seed: int,
) -> list[Estimate]:
    above, below = by_document(effects, documents), by_document(of, documents)

    def ratios(counts: Float[np.ndarray, "*resample unit"]) -> NDArray[np.float64]:
        return np.asarray(above @ counts.T / (below @ counts.T))

    return estimates_of_counts(ratios, len(below), seed=seed)


def bands(
    values: Float[np.ndarray, "latent"], edges: Sequence[tuple[float, str]]
) -> list[tuple[str, Bool[np.ndarray, "latent"]]]:
    """The members of each band that has any. NaN is in a band of its own."""
    place = np.searchsorted([edge for edge, _ in edges], values, side="right")
    place[np.isnan(values)] = len(edges)
    names = [*(name for _, name in edges), UNKNOWN]
    return [(name, place == i) for i, name in enumerate(names) if (place == i).any()]


def kinds(
    found: Sequence[LatentKind],
) -> list[tuple[str, Bool[np.ndarray, "latent"]]]:
    """The members of each kind that has any."""
    of = np.array(found, dtype=str)
    return [(str(kind), of == kind) for kind in LatentKind if (of == kind).any()]


def kind_of(latent: LatentActivations, tokens: Int[np.ndarray, "context seq"]) -> LatentKind:
    """The least that holds half of a latent's activation.

    Args:
        latent: Its activations on the explain set.
        tokens: The tokens of the explain set.
    """
    if len(latent.activations) < FEW:
        return LatentKind.TOO_RARE
    contexts, positions = latent.contexts, latent.positions
    here = tokens[contexts, positions].astype(np.int64)
    # The first token of a context follows none: −1.
    before = np.where(positions > 0, tokens[contexts, positions - 1], -1).astype(np.int64)
    pairs = (before + 1) * (int(tokens.max()) + 1) + here
    following = positions > 0
    activations = latent.activations.astype(np.float64)
    half = HALF * activations.sum()

    def largest(ids: NDArray[np.int64], of: NDArray[np.float64], count: int = 1) -> float:
        _, which = np.unique(ids, return_inverse=True)
        return float(np.sort(np.bincount(which, of))[-count:].sum()) if len(ids) else 0.0

    if largest(positions, activations) >= half:
        return LatentKind.POSITION
    if largest(pairs[following], activations[following]) >= half:
        return LatentKind.PHRASE
    if largest(here, activations) >= half:
        return LatentKind.WORD
    return (
        LatentKind.FEW_WORDS if largest(here, activations, FEW) >= half else LatentKind.MANY_WORDS
    )
