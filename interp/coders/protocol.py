"""The interface of a sparse coder to the rest of the program."""

import hashlib
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from interp.coders.rules import Latents, Rule
from interp.errors import InputError
from interp.model.subject import Hooked


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


def fvu(coder: Coder, hooked: Hooked, *, first_position: int) -> float:
    """Fraction of the variance of what stands at the site written that the coder leaves
    unexplained.

    Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over the tokens from ``first_position`` on. 0 is perfect, 1 is as good as
    the mean.
    """
    x = coder_input(coder, hooked)[:, first_position:].flatten(0, 1).float()
    y = hooked.output[:, first_position:].flatten(0, 1).float()
    return unexplained(coder, coder.encode(x), x, y)


def unexplained(
    coder: Coder,
    latents: Latents,
    x: Float[Tensor, "token d_in"],
    y: Float[Tensor, "token d_out"],
) -> float:
    """Σ‖y − ŷ‖² / Σ‖y − ȳ‖² for what a coder makes of its input, see :func:`fvu`."""
    residual = y - coder.decode(latents, x)
    return float(residual.square().sum() / (y - y.mean(0)).square().sum())


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
