"""The trained networks of the two-tower simulator, and their files.

The formulas are those of :mod:`interp.simulate.two_tower.simulator`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from interp.errors import InputError

CLAMP = 6.0
"""Standardised states are cut at so many standard deviations: a few dimensions have outliers."""
PROJECTION = "projection.safetensors"


class Shape(BaseModel, frozen=True):
    """Sizes of the trained networks."""

    features: int = 768
    """Principal components of the base's states that are kept."""
    width: int = 256
    """Dimensions of the vectors that are multiplied."""
    token_hidden: int = 512
    explanation_hidden: int = 256
    heads: int = 4
    layers: int = 1
    """Transformer layers over the explanation."""


class Projection(NamedTuple):
    """Standardises the base's states and reduces them. Fitted on training text, then fixed."""

    mean: Float[Tensor, "state"]
    deviation: Float[Tensor, "state"]
    components: Float[Tensor, "state feature"]
    unit: Float[Tensor, ""]
    """Root mean square of the reduced states: they are divided by it."""

    @classmethod
    def fit(cls, states: Float[Tensor, "token state"], features: int) -> Self:
        """Fit the projection: the leading eigenvectors of the standardised states' covariance.

        Raises:
            InputError: There are fewer states, or fewer tokens, than features.
        """
        if features > min(states.shape):
            raise InputError(
                f"{features} features cannot be taken from {states.shape[0]} tokens with "
                f"{states.shape[1]} states each. Train on more text, or ask for fewer."
            )
        mean, deviation = states.mean(0), states.std(0) + 1e-3
        standard = ((states - mean) / deviation).clamp(-CLAMP, CLAMP)
        _, vectors = torch.linalg.eigh(standard.mT @ standard)
        components = vectors[:, -features:].flip(1).contiguous()
        return cls(mean, deviation, components, (standard @ components).square().mean().sqrt())

    def __call__(self, states: Float[Tensor, "token state"]) -> Float[Tensor, "token feature"]:
        standard = ((states - self.mean) / self.deviation).clamp(-CLAMP, CLAMP)
        return standard @ self.components / self.unit


class Encoded(NamedTuple):
    """The explanation tower's encoding of explanations."""

    vector: Float[Tensor, "latent width"]
    """Already scaled."""
    bias: Float[Tensor, "latent"]

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The encodings of all parts, in one."""
        return cls(*(torch.cat(same) for same in zip(*parts, strict=True)))


class Towers(nn.Module):
    """The trained networks: see the formulas."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        f, d, h = shape.features, shape.width, shape.explanation_hidden
        self.shared = nn.Linear(f, d, bias=False)
        self.token_mlp = nn.Sequential(
            nn.Linear(f, shape.token_hidden), nn.GELU(), nn.Linear(shape.token_hidden, d)
        )
        self.enter = nn.Linear(f, h)
        layer = nn.TransformerEncoderLayer(
            h, 4, 2 * h, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.attention = nn.Linear(h, shape.heads)
        self.value = nn.Linear(h, d)
        self.join = nn.Linear(shape.heads * d, d)
        self.scale_and_bias = nn.Linear(h, 2)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """At first an explanation's vector is a mean of its tokens' shared encodings."""
        nn.init.normal_(self.shared.weight, std=self.shape.features**-0.5)
        for zero in (self.token_mlp[2], self.value, self.join, self.scale_and_bias):
            nn.init.zeros_(zero.weight)  # type: ignore[arg-type]
        self.join.weight += torch.eye(self.shape.width).repeat(1, self.shape.heads) / (
            self.shape.heads
        )
        self.scale_and_bias.bias.copy_(torch.tensor([0.0, -5.0]))  # most latents are mostly silent

    def tokens(self, x: Float[Tensor, "token feature"]) -> Float[Tensor, "token width"]:
        """Encode tokens of text."""
        encoded: Tensor = self.shared(x) + self.token_mlp(x)
        return encoded

    def explanations(self, batch: Sequence[Float[Tensor, "token feature"]]) -> Encoded:
        """Encode explanations, of any lengths."""
        x = nn.utils.rnn.pad_sequence(list(batch), batch_first=True)
        lengths = torch.tensor([len(one) for one in batch], device=x.device)
        padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        h = self.mix(self.enter(x), src_key_padding_mask=padding)
        weights = self.attention(h).masked_fill(padding[..., None], -1e4).softmax(1)
        pooled = torch.einsum("bjh,bjd->bhd", weights, self.shared(x) + self.value(h))
        mean = h.masked_fill(padding[..., None], 0).sum(1) / lengths[:, None]
        scale, bias = self.scale_and_bias(mean).unbind(-1)
        vector = self.join(pooled.flatten(1)) * scale.exp()[:, None] / self.shape.width**0.5
        return Encoded(vector, bias)


def logits(tokens: Float[Tensor, "token width"], encoded: Encoded) -> Float[Tensor, "token latent"]:
    """Log-odds of the simulated share of each latent's maximum."""
    return tokens @ encoded.vector.mT + encoded.bias


def save_projection(projection: Projection, folder: Path) -> None:
    save_file(
        {k: v.half().contiguous() for k, v in projection._asdict().items()}, folder / PROJECTION
    )


def save_towers(towers: Towers, path: Path) -> None:
    """Write the networks in half precision."""
    save_file({name: v.half().contiguous() for name, v in towers.state_dict().items()}, path)


def load_towers(shape: Shape, path: Path) -> Towers:
    towers = Towers(shape)
    try:
        towers.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its simulator.json: {error}") from None
    return towers.requires_grad_(False).eval()


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}. Train the simulator again.") from None
