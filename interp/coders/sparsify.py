"""Coders in the format of EleutherAI's ``sparsify``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from jaxtyping import Float
from sparsify import SparseCoder
from torch import Tensor, nn

from interp.coders.protocol import Latents
from interp.errors import InputError
from interp.sources.sparsify import WEIGHTS


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
    def k(self) -> int:
        return int(self.module.cfg.k)

    @property
    def num_latents(self) -> int:
        return int(self.module.num_latents)

    @property
    def d_model(self) -> int:
        return int(self.module.d_in)

    @property
    def decoder(self) -> Float[Tensor, "latent d_model"]:
        assert self.module.W_dec is not None
        weight: Tensor = self.module.W_dec
        return weight.detach()

    @torch.inference_mode()
    def encode(self, x: Float[Tensor, "token d_model"]) -> Latents:
        top = self.module.encode(x)
        return Latents(top.top_acts, top.top_indices)

    @torch.inference_mode()
    def decode(
        self, latents: Latents, x: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token d_model"]:
        y: Tensor = nn.functional.embedding_bag(
            latents.indices, self.decoder, per_sample_weights=latents.activations, mode="sum"
        )
        y += self.module.b_dec
        if self.module.W_skip is not None:
            y = y + x @ self.module.W_skip.mT
        return y


def load(folder: Path, device: torch.device) -> SparsifyCoder:
    """Load a checkpoint.

    Raises:
        InputError: Some of its weights are infinite or no numbers.
    """
    coder = SparsifyCoder.from_folder(folder, device)
    for name, weights in coder.module.named_parameters():
        if bad := int((~weights.isfinite()).sum()):
            raise InputError(
                f"{folder / WEIGHTS} is damaged: {bad:,} of {weights.numel():,} values of {name} "
                "are infinite or not numbers (NaN). Fetch the checkpoint again, or train it again "
                "with a lower learning rate."
            )
    return coder
