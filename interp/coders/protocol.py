"""The interface of a sparse coder to the rest of the program."""

import hashlib
from typing import Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.model.subject import Hooked

ENCODED_AT_ONCE = 2048
"""Tokens that a coder encodes at once."""


class Latents(NamedTuple):
    """The active latents of each token."""

    activations: Float[Tensor, "token k"]
    """Zero where fewer than k latents are active."""
    indices: Int[Tensor, "token k"]


class Coder(Protocol):
    """A sparse coder at a hookpoint.

    A *transcoder* reads the module's input and predicts its output. An *SAE* reads the module's
    output and reconstructs it.
    """

    @property
    def kind(self) -> Literal["transcoder", "sae"]: ...
    @property
    def skip(self) -> bool: ...
    @property
    def k(self) -> int: ...
    @property
    def num_latents(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def decoder(self) -> Float[Tensor, "latent d_model"]: ...

    def encode(self, x: Float[Tensor, "token d_model"]) -> Latents:
        """The top-k latents of each token, from what the coder reads."""
        ...

    def decode(
        self, latents: Latents, x: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token d_model"]:
        """The coder's output for these latents, with bias and skip connection.

        Args:
            latents: Any number of latents a token, not only the coder's own k.
            x: The input of the coder, which the skip connection passes on.
        """
        ...


def fingerprint(coder: Coder) -> str:
    """SHA-256 of a coder's decoder, which tells coders apart."""
    return hashlib.sha256(coder.decoder.float().cpu().numpy().tobytes()).hexdigest()


def coder_input(coder: Coder, hooked: Hooked) -> Float[Tensor, "batch seq d_model"]:
    """The input of a coder of this kind at a hookpoint."""
    return hooked.input if coder.kind == "transcoder" else hooked.output


def encoded(coder: Coder, x: Float[Tensor, "token d_model"]) -> Latents:
    """What :meth:`Coder.encode` gives, some tokens at once: before the top k are chosen, a token
    has a value for each latent."""
    parts = [coder.encode(some.float()) for some in x.split(ENCODED_AT_ONCE)]
    return Latents(
        torch.cat([part.activations for part in parts]), torch.cat([part.indices for part in parts])
    )


class Unexplained:
    """Fraction of the variance of the module's output that the coder leaves unexplained (FVU).

    Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over the tokens from ``first_position`` on. 0 is perfect, 1 is as good as
    the mean.
    """

    def __init__(self, coder: Coder, *, first_position: int) -> None:
        self.coder, self.first_position = coder, first_position
        self._tokens, self._residual = 0, 0.0
        # Of the differences to the first output: of equal ones, exactly zero.
        self._first = self._sum = self._squares = torch.empty(0)

    def add(self, hooked: Hooked) -> None:
        """Take some contexts into account."""
        inputs = coder_input(self.coder, hooked)[:, self.first_position :].flatten(0, 1)
        outputs = hooked.output[:, self.first_position :].flatten(0, 1)
        if not self._tokens and len(outputs):
            self._first = outputs[0].double()
            self._sum = self._squares = torch.zeros_like(self._first)
        for x, y in zip(inputs.split(ENCODED_AT_ONCE), outputs.split(ENCODED_AT_ONCE), strict=True):
            residual = y.float() - self.coder.decode(self.coder.encode(x.float()), x.float())
            self._residual += float(residual.double().square().sum())
            difference = y.double() - self._first
            self._sum = self._sum + difference.sum(0)
            self._squares = self._squares + difference.square().sum(0)
            self._tokens += len(y)

    @property
    def fraction(self) -> float:
        """The fraction; not finite if the output is the same on all tokens."""
        variance = self._squares - self._sum.square() / self._tokens
        return float(self._residual / variance.sum())


def refuse_non_finite(
    what: str, values: Float[Tensor, "context position value"], *, first_context: int = 0
) -> None:
    """Raise an InputError that names the first context with infinity or no number (NaN) in it.

    Comparisons with NaN are false, so that it would count as silence.
    """
    bad = (~values.isfinite()).flatten(1).any(1)
    if bad.any():
        raise InputError(
            f"What {what} on context {first_context + int(bad.nonzero()[0])} is infinite or not a "
            "number (NaN), so nothing can be measured there. Check the weights of the model and "
            "of the coder: damaged ones, or ones too large for their type, do this."
        )
