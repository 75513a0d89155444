"""The rules by which coders select the active latents of a token.

A rule is applied twice: to a coder's own activations, and to the mixture of real and simulated ones
of a rewriting. So a simulated activation that the coder would not have let pass is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Dense = Float[Tensor, "token latent"]
"""Activations of all latents."""


class Latents(NamedTuple):
    """The active latents of each token, each once."""

    activations: Float[Tensor, "token most"]
    """Zero, for whatever latent, where fewer are active than on the token that has most."""
    indices: Int[Tensor, "token most"]

    @classmethod
    def joined(cls, parts: Sequence["Latents"]) -> "Latents":
        """Those of some tokens after those of others."""
        most = max(part.indices.shape[1] for part in parts)
        activations, indices = (
            torch.cat([nn.functional.pad(one, (0, most - one.shape[1])) for one in column])
            for column in zip(*parts, strict=True)
        )
        return cls(activations, indices)

    def dense(self, latents: int) -> Dense:
        """Activations of all latents: zero for those that are not active."""
        values = torch.zeros(len(self.indices), latents, device=self.activations.device)
        return values.scatter_add_(1, self.indices, self.activations.to(values))


class Rivals(NamedTuple):
    """What some latents must outrank to be active, and what is active in their place if they do
    not. All of shape (token, some)."""

    ranks: Tensor
    indices: Tensor
    activations: Tensor
    """Zero where nothing takes the place."""


class Rule(Protocol):
    """Selects the active latents of each token."""

    @property
    def meaning(self) -> str:
        """The rule in a few words, such as ``the 32 largest``."""
        ...

    def select(self, activations: Dense) -> Latents:
        """The active latents of each token, by ascending index.

        Sums over them are then equal to the last bit if the activations are: an exact comparison
        tells what changes.
        """
        ...

    def rank(
        self, activations: Float[Tensor, "token some"], latents: Int[Tensor, "some"]
    ) -> Float[Tensor, "token some"]:
        """What decides which latents are active: the larger, the sooner."""
        ...

    def rivals(self, activations: Dense, latents: Int[Tensor, "some"]) -> Rivals:
        """The rivals of each of some latents among activations of all."""
        ...


@dataclass(frozen=True)
class TopK:
    """The k largest of each token."""

    k: int
    weights: Float[Tensor, "latent"] | None = None
    """What activations are multiplied by before they are compared: the lengths of the decoder's
    directions, for some coders."""

    @property
    def meaning(self) -> str:
        return f"the {self.k} largest"

    def select(self, activations: Dense) -> Latents:
        every = torch.arange(activations.shape[1], device=activations.device)
        order = self.rank(activations, every).topk(self.k, dim=-1, sorted=False).indices
        order = order.sort(-1).values
        return Latents(activations.gather(-1, order), order)

    def rank(
        self, activations: Float[Tensor, "token some"], latents: Int[Tensor, "some"]
    ) -> Float[Tensor, "token some"]:
        return activations if self.weights is None else activations * self.weights[latents]

    def rivals(self, activations: Dense, latents: Int[Tensor, "some"]) -> Rivals:
        """The other latents hold k − 1 of the k places for certain. A latent has the last place if
        it outranks the k-th of the others: the next one if it is active itself, else the last
        one."""
        every = torch.arange(activations.shape[1], device=activations.device)
        top = self.rank(activations, every).topk(min(self.k + 1, len(every)), dim=-1)
        active = torch.zeros_like(activations, dtype=torch.bool)
        active.scatter_(1, top.indices[:, : self.k], True)
        last = slice(min(self.k, len(every)) - 1, min(self.k, len(every)))
        indices, ranks = top.indices[:, last], top.values[:, last]
        values = activations.gather(1, indices)
        beyond = slice(self.k, self.k + 1)
        if top.indices.shape[1] > self.k:
            following = top.indices[:, beyond], top.values[:, beyond]
            after = Rivals(following[1], following[0], activations.gather(1, following[0]))
        else:  # a coder with k latents has no next one: one of value zero stands for it
            after = Rivals(torch.zeros_like(ranks), indices, torch.zeros_like(values))
        chosen = active[:, latents]
        return Rivals(
            torch.where(chosen, after.ranks, ranks),
            torch.where(chosen, after.indices, indices),
            torch.where(chosen, after.activations, values),
        )


@dataclass(frozen=True)
class BatchTopK(TopK):
    """The k largest of each token on average over a batch, of coders whose files hold no threshold
    that came of it.

    :func:`interp.coders.thresholds.settled` estimates one. Until then, the k largest of each token.
    """

    @property
    def meaning(self) -> str:
        return f"the {self.k} largest on average"


@dataclass(frozen=True)
class Threshold:
    """Those above their threshold: JumpReLU, and with thresholds of zero ReLU.

    ``a = relu(p) · [p > θ]`` (Rajamanoharan et al. 2024, arXiv 2407.14435).
    """

    thresholds: Float[Tensor, "latent"]
    """In float32, whatever the other weights are in: rounded thresholds let others pass."""
    trained: TopK | None = None
    """The rule that the coder was trained with, if the thresholds were made from it later."""
    estimated: float | None = None
    """The threshold of what is compared, if it was estimated here and not by the coder's makers."""

    @property
    def meaning(self) -> str:
        if not self.thresholds.any():
            return "those above zero"
        low, high = float(self.thresholds.min()), float(self.thresholds.max())
        return f"those above {low:.3g}" if low == high else "those above their own threshold"

    def select(self, activations: Dense) -> Latents:
        above = (activations > self.thresholds) & (activations > 0)
        most = max(1, int(above.sum(1).max())) if len(above) else 1
        order = above.to(torch.uint8).topk(most, dim=-1, sorted=False).indices.sort(-1).values
        kept = activations.where(above, 0.0)
        return Latents(kept.gather(-1, order), order)

    def rank(
        self, activations: Float[Tensor, "token some"], latents: Int[Tensor, "some"]
    ) -> Float[Tensor, "token some"]:
        return activations

    def rivals(self, activations: Dense, latents: Int[Tensor, "some"]) -> Rivals:
        """No latent takes another one's place."""
        shape = len(activations), len(latents)
        thresholds = self.thresholds[latents].clamp_min(0)
        return Rivals(
            thresholds.expand(shape),
            latents.expand(shape),
            torch.zeros(shape, device=activations.device),
        )


@dataclass(frozen=True)
class GroupMax:
    """The largest of each of k groups of neighbours, all of one size."""

    k: int

    @property
    def meaning(self) -> str:
        return f"the largest of each of {self.k} groups"

    def select(self, activations: Dense) -> Latents:
        grouped = activations.unflatten(-1, (self.k, -1))
        best = grouped.max(-1)
        return Latents(best.values, best.indices + self._starts(grouped))

    def rank(
        self, activations: Float[Tensor, "token some"], latents: Int[Tensor, "some"]
    ) -> Float[Tensor, "token some"]:
        return activations

    def rivals(self, activations: Dense, latents: Int[Tensor, "some"]) -> Rivals:
        """The largest of a latent's group; the second, if it is the largest itself."""
        grouped = activations.unflatten(-1, (self.k, -1))
        size = grouped.shape[-1]
        top = grouped.topk(min(2, size), dim=-1)
        indices = top.indices + self._starts(grouped)[:, None]
        values = top.values
        if size == 1:
            indices, values = indices.repeat(1, 1, 2), torch.stack([values[..., 0]] * 2, -1)
            values[..., 1] = 0.0
        group = latents // size
        first, second = indices[:, group].unbind(-1)
        highest, next_highest = values[:, group].unbind(-1)
        own = first == latents
        found = torch.where(own, next_highest, highest)
        return Rivals(found, torch.where(own, second, first), found)

    def _starts(self, grouped: Tensor) -> Int[Tensor, "group"]:
        return torch.arange(self.k, device=grouped.device) * grouped.shape[-1]
