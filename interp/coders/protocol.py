"""The interface of a sparse coder to the rest of the program."""

import hashlib
from typing import Literal, NamedTuple, Protocol

from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.model.subject import Hooked


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


def fvu(coder: Coder, hooked: Hooked, *, first_position: int) -> float:
    """Fraction of the variance of the module's output that the coder leaves unexplained.

    Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over the tokens from ``first_position`` on. 0 is perfect, 1 is as good as
    the mean.
    """
    x = coder_input(coder, hooked)[:, first_position:].flatten(0, 1).float()
    y = hooked.output[:, first_position:].flatten(0, 1).float()
    residual = y - coder.decode(coder.encode(x), x)
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
