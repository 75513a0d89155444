"""The spliced forward: the coder, with some latents rewritten, in the module's place.

A *splice* says what the module's output becomes at the spliced positions of some contexts. Each
named condition of an evaluation is one splice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from interp.coders.protocol import Coder, coder_input
from interp.coders.rules import Latents
from interp.model.subject import Hooked
from interp.model.taps import Hidden


@dataclass(frozen=True)
class Site:
    """The coder at its sites, on a batch of contexts, at the spliced positions."""

    coder: Coder
    hooked: Hooked

    @cached_property
    def x(self) -> Float[Tensor, "token d_model"]:
        """The coder's input."""
        return coder_input(self.coder, self.hooked).float().flatten(0, 1)

    @cached_property
    def active(self) -> Latents:
        """The coder's active latents, with their activations."""
        return self.coder.encode(self.x)

    @cached_property
    def real(self) -> Float[Tensor, "token latent"]:
        """Activations of all latents: zero for those that the coder's rule does not select."""
        return self.active.dense(self.coder.num_latents)

    def thin(self) -> Self:
        """The same site without the activations of all latents, the largest part in memory."""
        self.__dict__.pop("real", None)
        return self

    def output(self, activations: Float[Tensor, "token latent"]) -> Hidden:
        """The coder's output for those activations that its rule selects, in single precision."""
        output = self.coder.decode(self.coder.rule.select(activations), self.x)
        return output.view_as(self.hooked.output)

    def decode(self, activations: Float[Tensor, "token latent"]) -> Hidden:
        """The same in the model's precision."""
        return self.output(activations).to(self.hooked.output)


Splice = Callable[[Site, Int[Tensor, "batch"]], Hidden]
"""Takes the site, and which contexts of the set its batch holds."""


class Values(NamedTuple):
    """Activations to put in the place of some latents' own."""

    latents: Int[Tensor, "rewritten"]
    at: Callable[[Int[Tensor, "batch"]], Float[Tensor, "batch position rewritten"]]
    """The values for some contexts of the set, at the spliced positions, so that no more than a
    batch need be in memory. NaN where one is missing: there the latent keeps its real activation.
    """

    @classmethod
    def of(
        cls,
        latents: Int[Tensor, "rewritten"],
        activations: Float[Tensor, "context position rewritten"],
    ) -> Self:
        """Values that are all in memory."""
        return cls(latents, lambda rows: activations[rows])


def untouched(site: Site, _: Tensor) -> Hidden:
    """The module's own output."""
    return site.hooked.output


def zero(site: Site, _: Tensor) -> Hidden:
    """The module's output is zero. For an SAE this zeroes its reconstruction."""
    return torch.zeros_like(site.hooked.output)


def mean(output: Float[Tensor, "d_model"]) -> Splice:
    """The module's output is its mean over the explain set."""
    return lambda site, _: output.to(site.hooked.output).expand_as(site.hooked.output)


def resample(outputs: Float[Tensor, "output d_model"], *, seed: int) -> Splice:
    """The module's output at each position is one of these, drawn at random with replacement.

    Args:
        outputs: The module's own at positions of other text.
        seed: With it, a context's draws depend on nothing but its row.
    """

    def splice(site: Site, rows: Tensor) -> Hidden:
        positions = site.hooked.output.shape[1]
        drawn = [rng.integers(len(outputs), size=positions) for rng in _generators(seed, rows)]
        return outputs[torch.from_numpy(np.stack(drawn))].to(site.hooked.output)

    return splice


def no_latents(site: Site, _: Tensor) -> Hidden:
    """All latents are zero: the coder's bias and skip connection are left."""
    return site.decode(torch.zeros_like(site.real))


def real_latents(site: Site, _: Tensor) -> Hidden:
    """The coder's own forward: its error is the price of the coder, before any rewriting."""
    return site.decode(site.real)


def rewritten(values: Values) -> Splice:
    """Some latents get these values, the others keep their real ones."""
    return _decoded(_rewritten(values))


def rewritten_error_kept(values: Values) -> Splice:
    """The same with the coder's own error added back: the module's output, changed by what the
    rewriting changes in the coder's."""
    return _error_kept(_rewritten(values))


def set_zeroed(values: Values) -> Splice:
    """The latents of a rewriting are zero wherever they would be rewritten."""
    return _decoded(_set_zeroed(values))


def set_zeroed_error_kept(values: Values) -> Splice:
    """The same with the coder's own error added back."""
    return _error_kept(_set_zeroed(values))


def noise(values: Values, *, seed: int) -> Splice:
    """The real latents' output with noise that is as large as the error of the rewriting.

    At each position the noise has the Euclidean norm of the difference between the rewriting's
    output and the real latents', in a direction drawn uniformly from the sphere. It is a baseline
    of any rewriting: it knows how far off the output is, but not in which direction.

    Args:
        seed: With it, a context's directions depend on nothing but its row.
    """
    mixture = _rewritten(values)

    def splice(site: Site, rows: Tensor) -> Hidden:
        real = site.output(site.real)
        error = site.output(mixture(site, rows)) - real
        size = torch.linalg.vector_norm(error, dim=-1, keepdim=True)
        drawn = [
            rng.standard_normal(real.shape[1:], dtype=np.float32) for rng in _generators(seed, rows)
        ]
        direction = normalize(torch.from_numpy(np.stack(drawn)).to(real), dim=-1)
        noisy: Hidden = real + size * direction
        return noisy.to(site.hooked.output)

    return splice


def oracle_gating(values: Values) -> Splice:
    """The given values where a latent is truly active, zero elsewhere.

    A ceiling: a simulator that always knew *where*. The remaining error is in *how much*.
    """
    return _decoded(_mixture(values, lambda given, real, rows: given.where(real > 0, 0.0)))


def oracle_values(values: Values) -> Splice:
    """The true activations where the given values say that a latent is active, zero elsewhere.

    A ceiling: a simulator that always knew *how much*. The remaining error is in *where*.
    """
    return _decoded(_mixture(values, lambda given, real, rows: real.where(given > 0, 0.0)))


def random_latents(
    values: Values, quantiles: Float[Tensor, "rewritten quantile"], *, seed: int
) -> Splice:
    """At each position, as many latents of the set as are truly active, but drawn at random.

    A baseline of any rewriting: it knows how many latents are active and how active they get, but
    not which.

    Args:
        values: Only which latents they are for, and where they are missing, matters.
        quantiles: Each latent's activations, where it is active, at evenly spaced ranks from the
            smallest to the largest. A drawn latent's value is drawn from them by linear
            interpolation. A latent whose largest is zero is not drawn.
        seed: With it, a context's draws depend on nothing but its row.
    """

    def choose(given: Tensor, real: Tensor, rows: Tensor) -> Tensor:
        shape = (len(given) // len(rows), given.shape[1])
        # In single precision, or a draw just below 1 is rounded to 1, beyond the last quantile.
        draws = [rng.random((2, *shape), dtype=np.float32) for rng in _generators(seed, rows)]
        order, rank = torch.from_numpy(np.concatenate(draws, axis=1)).to(real)
        there = ~given.isnan()
        active = ((real > 0) & there).sum(1, keepdim=True)
        drawable = there & (quantiles.to(real).amax(1) > 0)
        # The latents that come first in a random order: no later than the last one chosen.
        first = order.where(drawable, torch.inf).topk(max(1, int(active.max())), largest=False)
        last = first.values.gather(1, (active - 1).clamp_min(0))
        chosen = drawable & (order <= last) & (active > 0)
        drawn = torch.zeros_like(given)
        drawn[chosen] = _inverse_cdf(quantiles.to(real)[chosen.nonzero()[:, 1]], rank[chosen])
        return drawn

    return _decoded(_mixture(values, choose))


def _generators(seed: int, rows: Int[Tensor, "batch"]) -> list[np.random.Generator]:
    """A generator for each context, which depends on nothing but the seed and the row."""
    return [np.random.default_rng([seed, row]) for row in rows.tolist()]


def _inverse_cdf(
    quantiles: Float[Tensor, "draw quantile"], rank: Float[Tensor, "draw"]
) -> Float[Tensor, "draw"]:
    place = rank[:, None] * (quantiles.shape[1] - 1)
    low = place.floor().long()
    below = quantiles.gather(1, low)
    return (below + (quantiles.gather(1, low + 1) - below) * (place - low))[:, 0]


Choose = Callable[
    [Float[Tensor, "token rewritten"], Float[Tensor, "token rewritten"], Int[Tensor, "batch"]],
    Float[Tensor, "token rewritten"],
]
"""From the given and the real activations of the rewritten latents to those that are used."""


Mixture = Callable[[Site, Int[Tensor, "batch"]], Float[Tensor, "token latent"]]
"""The activations of all latents, some of them changed."""


def _rewritten(values: Values) -> Mixture:
    return _mixture(values, lambda given, real, rows: given)


def _set_zeroed(values: Values) -> Mixture:
    return _mixture(values, lambda given, real, rows: torch.zeros_like(given))


def _mixture(values: Values, choose: Choose) -> Mixture:
    def mix(site: Site, rows: Tensor) -> Tensor:
        latents = values.latents.to(site.x.device)
        given = values.at(rows).to(site.x).flatten(0, 1)
        real = site.real[:, latents]
        there: Bool[Tensor, "token rewritten"] = ~given.isnan()
        mixture = site.real.clone()
        mixture[:, latents] = choose(given, real, rows).where(there, real)
        return mixture

    return mix


def _decoded(mixture: Mixture) -> Splice:
    return lambda site, rows: site.decode(mixture(site, rows))


def _error_kept(mixture: Mixture) -> Splice:
    def splice(site: Site, rows: Tensor) -> Hidden:
        # Where nothing is changed the change is exactly zero, and the output the module's own.
        change = site.output(mixture(site, rows)) - site.output(site.real)
        return (site.hooked.output.float() + change).to(site.hooked.output)

    return splice
