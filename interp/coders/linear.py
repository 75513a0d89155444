"""A sparse coder of one hidden layer, in whatever layout its weights came."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.coders.rules import Dense, Latents, Rule

AT_ONCE = 2**26
"""Activations of all latents in memory at once, while a text is encoded."""


@dataclass(frozen=True)
class Gate:
    """What a gated coder adds (Rajamanoharan et al. 2024, arXiv 2404.16014): one bias decides
    whether a latent is active, another one how active."""

    bias: Float[Tensor, "latent"]
    """Of the gate. The encoder's own bias is that of the magnitude."""
    scale: Float[Tensor, "latent"]
    """``exp(r_mag)``: the magnitude's weights are the gate's, times this."""


class Normalised(NamedTuple):
    """Vectors ``(x − shift) / scale``, with the scale and the shift that the output gets."""

    x: Float[Tensor, "token d_in"]
    scale: Float[Tensor, "token 1"]
    shift: Float[Tensor, "token 1"]


Normalise = Callable[[Float[Tensor, "token d_in"]], Normalised]


def layer_norm(eps: float) -> Normalise:
    """Each vector has mean 0 and standard deviation 1.

    Args:
        eps: Added to the standard deviation that a vector is divided by, and not to the one that
            the output is multiplied by.
    """

    def normalise(x: Float[Tensor, "token d_in"]) -> Normalised:
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        deviation = centred.std(-1, keepdim=True)
        return Normalised(centred / (deviation + eps), deviation, mean)

    return normalise


def to_length(length: float) -> Normalise:
    """Each vector has this length."""

    def normalise(x: Float[Tensor, "token d_in"]) -> Normalised:
        scale = x.norm(dim=-1, keepdim=True).clamp_min(1e-12) / length
        return Normalised(x / scale, scale, torch.zeros_like(scale))

    return normalise


@dataclass(frozen=True)
class LinearCoder:
    """A coder ``y = W_dec a + b_dec (+ W_skip x)``, with ``a`` selected by a rule from
    ``W_enc x + b_enc``. All weights are in float32."""

    kind: Literal["transcoder", "sae"]
    encoder: Float[Tensor, "latent d_in"]
    encoder_bias: Float[Tensor, "latent"]
    decoder: Float[Tensor, "latent d_out"]
    decoder_bias: Float[Tensor, "d_out"]
    rule: Rule
    skip_weight: Float[Tensor, "d_out d_in"] | None = None
    centre: Float[Tensor, "d_in"] | None = None
    """Subtracted from what is read, before it is encoded."""
    gate: Gate | None = None
    normalise: Normalise | None = None

    @property
    def skip(self) -> bool:
        return self.skip_weight is not None

    @property
    def num_latents(self) -> int:
        return len(self.decoder)

    @property
    def d_in(self) -> int:
        return self.encoder.shape[1]

    @property
    def d_out(self) -> int:
        return self.decoder.shape[1]

    @torch.inference_mode()
    def encode(self, x: Float[Tensor, "token d_in"]) -> Latents:
        """The active latents of each token."""
        x = self._read(x).x
        parts = [
            self.rule.select(self._activations(some))
            for some in x.split(max(1, AT_ONCE // self.num_latents))
        ]
        return Latents.joined(parts)

    @torch.inference_mode()
    def decode(
        self, latents: Latents, x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token d_out"]:
        """The output for these latents, with bias and skip connection."""
        y: Tensor = nn.functional.embedding_bag(
            latents.indices, self.decoder, per_sample_weights=latents.activations, mode="sum"
        )
        y = y + self.decoder_bias
        read = self._read(x)
        if self.skip_weight is not None:
            y = y + read.x @ self.skip_weight.mT
        return y if self.normalise is None else y * read.scale + read.shift

    @torch.inference_mode()
    def slopes(
        self, gradient: Float[Tensor, "token d_out"], x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token latent"]:
        """Derivatives with respect to each activation, from those with respect to the output."""
        return gradient * self._read(x).scale @ self.decoder.mT

    def _read(self, x: Float[Tensor, "token d_in"]) -> Normalised:
        if self.normalise is not None:
            return self.normalise(x)
        return Normalised(x, x.new_ones(len(x), 1), x.new_zeros(len(x), 1))

    def _activations(self, x: Float[Tensor, "token d_in"]) -> Dense:
        """Activations of all latents, before the rule selects some."""
        if self.centre is not None:
            x = x - self.centre
        if self.gate is not None:
            shared = x @ self.encoder.mT
            magnitude = (shared * self.gate.scale + self.encoder_bias).relu()
            return magnitude.where(shared + self.gate.bias > 0, 0.0)
        found: Dense = nn.functional.linear(x, self.encoder, self.encoder_bias).relu()
        return found


def scaled(coder: LinearCoder, *, read: float, written: float) -> LinearCoder:
    """A coder for vectors as they are in the model, from one that was trained on scaled ones.

    Args:
        read: The factor that the vectors read were multiplied by in training.
        written: The factor of the vectors written.
    """
    return replace(
        coder,
        encoder=coder.encoder * read,
        centre=None if coder.centre is None else coder.centre / read,
        decoder=coder.decoder / written,
        decoder_bias=coder.decoder_bias / written,
        skip_weight=None if coder.skip_weight is None else coder.skip_weight * (read / written),
    )


def with_norms(coder: LinearCoder) -> LinearCoder:
    """A coder whose activations are multiplied by the lengths of its decoder's directions, which
    then have length 1. Its rule selects among these products."""
    norms = coder.decoder.norm(dim=1)
    return replace(
        coder,
        encoder=coder.encoder * norms[:, None],
        encoder_bias=coder.encoder_bias * norms,
        decoder=coder.decoder / norms.clamp_min(1e-12)[:, None],
    )
