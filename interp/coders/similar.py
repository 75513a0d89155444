"""Latents that write in nearly the same direction."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Similar(NamedTuple):
    """The nearest others of some latents, nearest first."""

    indices: Int[Tensor, "latent count"]
    cosines: Float[Tensor, "latent count"]
    """``-inf`` where there are fewer that qualify."""


@torch.inference_mode()
def similar(
    decoder: Float[Tensor, "latent d_model"],
    block: range,
    *,
    alive: Bool[Tensor, "latent"],
    count: int,
) -> Similar:
    """The latents whose decoder directions have the largest cosine with those of a block.

    Args:
        block: The latents whose neighbours are wanted.
        alive: True for latents that ever fire. A dead one is nobody's neighbour, and has none.
        count: Number of neighbours of each.
    """
    usable = alive.to(decoder.device) & (decoder.norm(dim=1) > 0)
    directions = torch.nn.functional.normalize(decoder.float(), dim=1)
    cosine = directions[block.start : block.stop] @ directions.mT
    cosine[:, ~usable] = -torch.inf
    cosine[~usable[block.start : block.stop]] = -torch.inf
    own = torch.arange(len(block), device=cosine.device)
    cosine[own, own + block.start] = -torch.inf
    top = cosine.topk(min(count, len(decoder)), dim=1)
    return Similar(top.indices, top.values)
