"""What the rest of the program asks of a sparse coder, and how one is loaded and checked."""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.sources.coders import coder_folder
from interp.subject import Hooked, Subject

MAX_FVU = 0.5
"""A coder that leaves more of the variance unexplained than this does not fit its hookpoint.

Usable coders are well below; one at a wrong layer, or a transcoder read as an SAE, is near or
above 1.
"""


class Latents(NamedTuple):
    """The active latents of each token."""

    activations: Float[Tensor, "token k"]
    """Zero where fewer than k latents are active."""
    indices: Int[Tensor, "token k"]


class Coder(Protocol):
    """A sparse coder at a hookpoint.

    A *transcoder* reads the module's input and predicts its output; an *SAE* reads the module's
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
        """What the coder puts out for these latents, with bias and skip connection.

        Args:
            latents: Any number of latents a token, not only the coder's own k.
            x: What the coder reads, which the skip connection passes on.
        """
        ...


def coder_input(coder: Coder, hooked: Hooked) -> Float[Tensor, "batch seq d_model"]:
    """What a coder of this kind reads at a hookpoint."""
    return hooked.input if coder.kind == "transcoder" else hooked.output


def fvu(coder: Coder, hooked: Hooked, *, first_position: int) -> float:
    """Fraction of the variance of the module's output that the coder leaves unexplained.

    Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over the tokens from ``first_position`` on; 0 is perfect, 1 is as good
    as the mean.
    """
    x = coder_input(coder, hooked)[:, first_position:].flatten(0, 1).float()
    y = hooked.output[:, first_position:].flatten(0, 1).float()
    residual = y - coder.decode(coder.encode(x), x)
    return float(residual.square().sum() / (y - y.mean(0)).square().sum())


def load_coder(source: str, hookpoint: str, *, device: torch.device) -> Coder:
    """Load a sparsify checkpoint.

    Args:
        source: A checkpoint folder (holding ``cfg.json`` itself, or a folder named like the
            hookpoint that does), or a hub name.

    Raises:
        InputError: There is no such checkpoint, or its files do not fit together.
    """
    from interp.coders.sparsify import SparsifyCoder

    path = Path(source).expanduser()
    try:
        if path.exists():
            return SparsifyCoder.from_folder(coder_folder(path, hookpoint), device)
        return SparsifyCoder.from_hub(source, hookpoint, device)
    except InputError:
        raise
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise InputError(
            f"There is no sparse coder at {source!r}: neither a folder here nor a name on the hub."
        ) from error
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"The sparse coder {source!r} cannot be loaded: {reason}") from error


@torch.inference_mode()
def check_coder(
    coder: Coder, subject: Subject, tokens: Int[Tensor, "context seq"], *, first_position: int
) -> float:
    """Refuse a coder that does not fit its hookpoint.

    A coder for another layer or of another kind still loads and still puts out numbers; only its
    reconstruction tells.

    Args:
        tokens: A few contexts of real text.

    Returns:
        The fraction of variance unexplained on these contexts.

    Raises:
        InputError: The width differs, or more than ``MAX_FVU`` of the variance is unexplained.
    """
    hooked = subject.capture(tokens)
    widths = {coder_input(coder, hooked).shape[-1], hooked.output.shape[-1]}
    if widths != {coder.d_model}:
        raise InputError(
            f"The coder is for vectors of {coder.d_model} dimensions, but {subject.hookpoint!r} of "
            f"{subject.source} has {' and '.join(map(str, widths))}. It belongs to another model "
            "or hookpoint."
        )
    unexplained = fvu(coder, hooked, first_position=first_position)
    if not unexplained < MAX_FVU:
        raise InputError(
            f"The coder does not fit {subject.hookpoint!r}: it leaves {unexplained:.0%} of the "
            f"variance unexplained (at most {MAX_FVU:.0%} is accepted). Check its hookpoint, and "
            "that its cfg.json says truly whether it is a transcoder ('transcode')."
        )
    return unexplained
