"""The worst errors of a simulation, for a person or a model that rewords.

Needs neither torch nor what fits calibrations, so that a web page can show it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.explain.prompts import Error


class Place(NamedTuple):
    """A token of a set of contexts."""

    row: int
    """Of its context."""
    position: int


def worst_places(
    simulated: NDArray[np.floating], real: NDArray[np.floating], *, count: int
) -> tuple[list[Place], list[Place]]:
    """The worst false positives and false negatives, one a context, worst first.

    A false positive is a token where the latent is silent and the simulation is not. A false
    negative is one where the latent is active and the simulation is lower. A missing value is
    neither.

    Args:
        simulated: Calibrated values, shape (context, seq); NaN where missing.
        real: Real activations, same shape.
        count: The most of each kind.
    """
    gap = np.where(np.isnan(simulated), 0.0, simulated - real)

    def worst(gap: NDArray[np.floating]) -> list[Place]:
        positions = gap.argmax(1)
        largest = gap.max(1)
        rows = np.argsort(-largest, kind="stable")[:count]
        return [Place(row, int(positions[row])) for row in rows.tolist() if largest[row] > 0]

    return worst(np.where(real > 0, 0.0, gap)), worst(np.where(real > 0, -gap, 0.0))


def worst_errors(
    simulated: NDArray[np.floating],
    real: NDArray[np.floating],
    strings: Sequence[Sequence[str]],
    *,
    count: int,
) -> tuple[list[Error], list[Error]]:
    """The same with their contexts, as prompts show them.

    Args:
        simulated: As for :func:`worst_places`. Quantile-normalised values are active as often as
            the latent is, so both kinds show.
    """

    def error(place: Place) -> Error:
        row, position = place
        return Error(
            strings[row], real[row].tolist(), np.nan_to_num(simulated[row]).tolist(), position
        )

    positives, negatives = worst_places(simulated, real, count=count)
    return [error(place) for place in positives], [error(place) for place in negatives]
