"""The interface of a sparse coder to the rest of the program."""

import hashlib
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coders.rules import Latents, Rule
from interp.errors import InputError
from interp.model.subject import Hooked

ENCODED_AT_ONCE = 2048
"""Tokens that a coder encodes at once."""


class Coder(Protocol):
    """A sparse coder.

    A *transcoder* reads one site and predicts what stands at another one. An *SAE* reads the site
    that it reconstructs.
    """

    @property
    def kind(self) -> Literal["transcoder", "sae"]: ...
    @property
    def skip(self) -> bool: ...
    @property
    def rule(self) -> Rule: ...
    @property
    def num_latents(self) -> int: ...
    @property
    def d_in(self) -> int: ...
    @property
    def d_out(self) -> int: ...
    @property
    def decoder(self) -> Float[Tensor, "latent d_out"]: ...

    def encode(self, x: Float[Tensor, "token d_in"]) -> Latents:
        """The active latents of each token, from what the coder reads."""
        ...

    def decode(
        self, latents: Latents, x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token d_out"]:
        """The coder's output for these latents, with bias and skip connection.

        Args:
            latents: Any number of latents a token, not only as many as the rule selects.
            x: The input of the coder, which the skip connection passes on.
        """
        ...

    def slopes(
        self, gradient: Float[Tensor, "token d_out"], x: Float[Tensor, "token d_in"]
    ) -> Float[Tensor, "token latent"]:
        """Derivatives with respect to each activation, from those with respect to the output."""
        ...


def fingerprint(coder: Coder) -> str:
    """SHA-256 of a coder's decoder, which tells coders apart."""
    return hashlib.sha256(coder.decoder.float().cpu().numpy().tobytes()).hexdigest()


def coder_input(coder: Coder, hooked: Hooked) -> Float[Tensor, "batch seq d_in"]:
    """The input of a coder of this kind."""
    return hooked.input if coder.kind == "transcoder" else hooked.output


def encoded(coder: Coder, x: Float[Tensor, "token d_in"]) -> Latents:
    """What :meth:`Coder.encode` gives, some tokens at once: before some are selected, a token has a
    value for each latent."""
    return Latents.joined([coder.encode(some.float()) for some in x.split(ENCODED_AT_ONCE)])


class Fit:
    """How well a coder fits its sites, over the tokens from ``first_position`` on."""

    def __init__(self, coder: Coder, *, first_position: int) -> None:
        self.coder, self.first_position = coder, first_position
        self._tokens, self._active, self._residual = 0, 0, 0.0
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
            latents = self.coder.encode(x.float())
            self._active += int((latents.activations > 0).sum())
            residual = y.float() - self.coder.decode(latents, x.float())
            self._residual += float(residual.double().square().sum())
            difference = y.double() - self._first
            self._sum = self._sum + difference.sum(0)
            self._squares = self._squares + difference.square().sum(0)
            self._tokens += len(y)

    @property
    def fvu(self) -> float:
        """Fraction of the variance of what stands at the site written that is left unexplained:
        Σ‖y − ŷ‖² / Σ‖y − ȳ‖². 0 is perfect, 1 is as good as the mean. Not finite if the output is
        the same on all tokens."""
        variance = self._squares - self._sum.square() / self._tokens
        return float(self._residual / variance.sum())

    @property
    def active(self) -> float:
        """Mean number of active latents of a token."""
        return self._active / self._tokens


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
