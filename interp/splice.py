"""The spliced forward: the coder, with some latents rewritten, in the module's place.

A *splice* is a function from what the module reads and puts out to what the model goes on with.
Each named condition of an evaluation is one splice.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.coders.coder import Coder, Latents, coder_input
from interp.subject import Hidden, Hooked

Splice = Callable[[Hooked, Int[Tensor, "batch"]], Hidden]
"""Takes what passes the hookpoint, and which rows of the set of contexts it is of."""


class Values(NamedTuple):
    """Activations to put in the place of some latents' own."""

    latents: Int[Tensor, "rewritten"]
    activations: Float[Tensor, "context seq rewritten"]
    """NaN where a value is missing: there the latent keeps its real activation."""


def zero(hooked: Hooked, _: Tensor) -> Hidden:
    """The module's output is zero."""
    return torch.zeros_like(hooked.output)


def mean(output: Float[Tensor, "d_model"]) -> Splice:
    """The module's output is its mean over the explain set."""
    return lambda hooked, _: output.to(hooked.output).expand_as(hooked.output)


def no_latents(coder: Coder) -> Splice:
    """All latents are zero: the coder's bias and skip connection are left."""

    def splice(hooked: Hooked, _: Tensor) -> Hidden:
        x = coder_input(coder, hooked).float()
        flat = x.flatten(0, 1)
        nothing = Latents(
            torch.zeros(len(flat), 1, device=x.device),
            torch.zeros(len(flat), 1, dtype=torch.long, device=x.device),
        )
        return coder.decode(nothing, flat).view_as(x).to(hooked.output)

    return splice


def real_latents(coder: Coder) -> Splice:
    """The coder's own forward: its error is the price of the coder, before any rewriting."""

    def splice(hooked: Hooked, _: Tensor) -> Hidden:
        x = coder_input(coder, hooked).float()
        flat = x.flatten(0, 1)
        return coder.decode(_in_order(coder.encode(flat)), flat).view_as(x).to(hooked.output)

    return splice


def rewritten(coder: Coder, values: Values) -> Splice:
    """Some latents get these values, the others keep their real ones; the top k are kept."""

    def splice(hooked: Hooked, rows: Tensor) -> Hidden:
        x = coder_input(coder, hooked).float()
        flat = x.flatten(0, 1)
        real = coder.encode(flat)
        mixture = torch.zeros(len(flat), coder.num_latents, device=x.device)
        mixture.scatter_(1, real.indices, real.activations)
        latents = values.latents.to(x.device)
        given = values.activations[rows].to(x.device).flatten(0, 1)
        mixture[:, latents] = torch.where(given.isnan(), mixture[:, latents], given)
        kept = Latents(*mixture.topk(coder.k, dim=-1, sorted=False))
        return coder.decode(_in_order(kept), flat).view_as(x).to(hooked.output)

    return splice


def set_zeroed(coder: Coder, values: Values) -> Splice:
    """The latents of a rewriting are zero wherever they would be rewritten."""
    return rewritten(
        coder, Values(values.latents, torch.where(values.activations.isnan(), torch.nan, 0.0))
    )


def _in_order(latents: Latents) -> Latents:
    """The same latents by ascending index, so that their sum is the same to the last bit.

    A top k comes in any order, and which contexts a rewriting changes is told by exact comparison.
    """
    order = latents.indices.argsort(-1)
    return Latents(latents.activations.gather(-1, order), latents.indices.gather(-1, order))
