"""What a splice costs: the model's loss on the evaluate set."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from interp.splice import Splice
from interp.subject import Hidden, Hooked, Subject

BATCH_SIZE = 8
"""Contexts run at once. It bounds the memory and changes no result."""


class Condition(StrEnum):
    """The lines of the chart."""

    UNTOUCHED = "untouched"
    """The model as it is. All losses are compared with it."""
    REAL_LATENTS = "real_latents"
    """The coder in the module's place, all latents real."""
    ZERO = "zero"
    """The module's output is zero."""
    MEAN = "mean"
    """The module's output is its mean."""
    NO_LATENTS = "no_latents"
    """All latents are zero; the coder's bias and skip connection are left."""
    SET_ZEROED = "set_zeroed"
    """The latents that ``rewritten`` rewrites are zero, the others real."""
    REWRITTEN = "rewritten"
    """Some latents simulated and calibrated, the others real."""


class Positions(StrEnum):
    """Where a context is spliced, and which losses count."""

    ALL = "all"
    """Every token; the loss is the mean over all predictions made from them."""
    LAST = "last"
    """The last token that a prediction is made from; the loss is that one prediction's."""

    def of(self, seq: int, first_position: int) -> slice:
        """The positions of a context of ``seq`` tokens that are spliced.

        A beginning-of-sequence token (``first_position`` 1) is never spliced, in no condition. Nor
        is the last token, from which nothing is predicted.
        """
        return slice(first_position if self is Positions.ALL else seq - 2, seq - 1)


def context_losses(
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    splice: Splice | None,
    *,
    positions: Positions,
    first_position: int,
    rows: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Mean cross-entropy of each context, in nats, over the predictions that are spliced.

    Args:
        splice: None leaves the model untouched.
        rows: Which contexts to run; None runs them all.

    Returns:
        Shape (len(rows),).
    """
    where = positions.of(tokens.shape[1], first_position)
    means = [np.empty(0)]
    for batch in _batches(range(len(tokens)) if rows is None else rows):
        if splice is None:
            losses = subject.losses(tokens[batch])
        else:
            with subject.replacing(_within(splice, batch, where)):
                losses = subject.losses(tokens[batch])
        means.append(losses[:, where].double().mean(1).cpu().numpy())
    return np.concatenate(means)


@torch.inference_mode()
def changed_contexts(
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    splices: Sequence[Splice],
    reference: Splice,
    *,
    positions: Positions,
    first_position: int,
) -> list[list[int]]:
    """For each splice, the contexts on which it puts out anything but what the reference does.

    Elsewhere its loss is the reference's, so only these need to be run. Rewriting one latent
    changes few contexts, and finding them costs one pass up to the hookpoint for all splices.
    """
    where = positions.of(tokens.shape[1], first_position)
    changed: list[list[int]] = [[] for _ in splices]
    for batch in _batches(range(len(tokens))):
        hooked = subject.capture(tokens[batch])
        expected = reference(hooked, batch)[:, where]
        for found, splice in zip(changed, splices, strict=True):
            differs = (splice(hooked, batch)[:, where] != expected).flatten(1).any(1)
            found += batch[differs.cpu()].tolist()
    return changed


class Cost(NamedTuple):
    """Losses of a splice that differs from a reference on some contexts only."""

    losses: NDArray[np.float64]
    """Loss of each context, in nats; where nothing changed, the reference's."""
    rows: list[int]
    """Contexts that were run."""


def losses_against(
    reference: Splice,
    reference_losses: NDArray[np.float64],
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    splices: Sequence[Splice],
    *,
    positions: Positions,
    first_position: int,
) -> list[Cost]:
    """Losses of splices that differ little from one whose losses are known.

    See :func:`context_losses` and :func:`changed_contexts`.
    """
    changed = changed_contexts(
        subject, tokens, splices, reference, positions=positions, first_position=first_position
    )
    costs = []
    for splice, rows in zip(splices, changed, strict=True):
        losses = reference_losses.copy()
        losses[rows] = context_losses(
            subject, tokens, splice, positions=positions, first_position=first_position, rows=rows
        )
        costs.append(Cost(losses, rows))
    return costs


def _batches(rows: Sequence[int]) -> Iterator[Tensor]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield torch.tensor(rows[start : start + BATCH_SIZE])


def _within(splice: Splice, rows: Tensor, where: slice) -> Callable[[Hooked], Hidden]:
    """Apply a splice at some positions only; elsewhere the module's own output stays."""

    def replace(hooked: Hooked) -> Hidden:
        output = hooked.output.clone()
        output[:, where] = splice(hooked, rows)[:, where]
        return output

    return replace
