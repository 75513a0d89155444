"""Collect the activations of all latents on many contexts, in bounded memory.

Activations are kept sparse, in shards of a few hundred contexts. Within a shard they are sorted by
latent, so that the activations of one latent are one slice of each shard: collecting holds one
shard in memory, and reading holds the latents that are asked for.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp.coders.coder import Coder, coder_input
from interp.stored import LatentActivations as LatentActivations
from interp.stored import StoredActivations
from interp.subject import Subject


class Shard(NamedTuple):
    """The activations on a run of contexts, sorted by latent."""

    offsets: Int[Tensor, "latent+1"]
    """Latent ``i`` has the entries ``offsets[i]`` to ``offsets[i + 1]``."""
    positions: Int[Tensor, "entry"]
    """Where in the shard: context × context length + position."""
    activations: Float[Tensor, "entry"]
    output_sum: Float[Tensor, "d_model"]
    """Sum of the module's output over the collected tokens."""
    tokens: int
    """How many tokens were collected."""


@torch.inference_mode()
def collect(
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
    batch_size: int = 16,
) -> Shard:
    """Run the subject model to its hookpoint and keep which latents are active where.

    Args:
        first_position: Positions before it are left out: 1 where contexts begin with a
            beginning-of-sequence token, whose huge activations say nothing about text.
        batch_size: Contexts run at once.
    """
    seq = tokens.shape[1]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    output_sum = torch.zeros(coder.d_model, dtype=torch.float64)
    for start in range(0, len(tokens), batch_size):
        hooked = subject.capture(tokens[start : start + batch_size])
        x = coder_input(coder, hooked)[:, first_position:]
        output_sum += hooked.output[:, first_position:].double().sum((0, 1)).cpu()
        latents = coder.encode(x.flatten(0, 1).float())
        active = latents.activations > 0
        token = active.nonzero()[:, 0].cpu()
        kept = seq - first_position
        position = (start + token // kept) * seq + first_position + token % kept
        parts.append((latents.indices[active].cpu(), position, latents.activations[active].cpu()))
    indices, positions, activations = (torch.cat(p) for p in zip(*parts, strict=True))
    order = indices.argsort(stable=True)
    counts = indices.bincount(minlength=coder.num_latents)
    return Shard(
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        positions[order].int(),
        activations[order],
        output_sum,
        tokens.shape[0] * (seq - first_position),
    )


class ActivationStore(StoredActivations):
    """The shards of one set of contexts, to write and to read."""

    def path(self, start: int) -> Path:
        """File of the shard whose first context is ``start``."""
        return self.folder / f"{start:09d}.safetensors"

    def has(self, start: int) -> bool:
        return self.path(start).is_file()

    def write(self, start: int, shard: Shard) -> None:
        """Save a shard; it is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.path(start).with_suffix(".partial")
        tensors = {**shard._asdict(), "tokens": torch.tensor(shard.tokens)}
        save_file(tensors, partial)
        partial.replace(self.path(start))

    def summary(self) -> tuple[int, Float[Tensor, "d_model"]]:
        """How many tokens were collected, and the mean of the module's output over them."""
        tokens, total = 0, torch.zeros(())
        for _, path in self.shards():
            with safe_open(path, "pt") as file:
                tokens += int(file.get_tensor("tokens"))
                total = total + file.get_tensor("output_sum")
        return tokens, (total / tokens).float()
