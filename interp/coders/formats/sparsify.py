"""Coders in the format of EleutherAI's ``sparsify``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from jaxtyping import Float
from sparsify import SparseCoder
from torch import Tensor, nn

from interp.coders.rules import GroupMax, Latents, Rule, TopK
from interp.coders.weights import refuse_not_finite


@dataclass(frozen=True)
class SparsifyCoder:
    """A ``sparsify`` coder whose ``decode`` adds the skip connection, as its ``forward`` does."""

    module: SparseCoder

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device) -> Self:
        return cls(SparseCoder.load_from_disk(folder, device=device).float())

    @property
    def kind(self) -> Literal["transcoder", "sae"]:
        return "transcoder" if self.module.cfg.transcode else "sae"

    @property
    def skip(self) -> bool:
        return self.module.W_skip is not None

    @property
    def rule(self) -> Rule:
        k = int(self.module.cfg.k)
        return GroupMax(k) if self.module.cfg.activation == "groupmax" else TopK(k)

    @property
    def num_latents(self) -> int:
        return int(self.module.num_latents)

    @property
    def d_in(self) -> int:
        return int(self.module.d_in)

    @property
    def d_out(self) -> int:
        return int(self.module.b_dec.shape[0])

    @property
    def decoder(self) -> Float[Tensor, "latent d_out"]:
        assert self.module.W_dec is not None
        weight: Tensor = self.module.W_dec
        return weight.detach()

    @torch.inference_mode()
    def encode(self, x: Float[Tensor, "token d_in"]) -> Latents:
        top = self.module.encode(x)
        return Latents(top.top_acts, top.top_indices)

    @torch.inference_mode()
    def decode(
        self, latents: Latents, x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token d_out"]:
        y: Tensor = nn.functional.embedding_bag(
            latents.indices, self.decoder, per_sample_weights=latents.activations, mode="sum"
        )
        y += self.module.b_dec
        if self.module.W_skip is not None:
            y = y + x @ self.module.W_skip.mT
        return y

    @torch.inference_mode()
    def slopes(
        self, gradient: Float[Tensor, "token d_out"], x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token latent"]:
        return gradient @ self.decoder.mT


def load(weights: Path, device: torch.device) -> SparsifyCoder:
    """Load a checkpoint."""
    coder = SparsifyCoder.from_folder(weights.parent, device)
    refuse_not_finite(weights, dict(coder.module.named_parameters()))
    return coder
