"""What the rest of the program asks of a sparse coder, and how one is loaded and checked."""

import math
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from huggingface_hub import snapshot_download
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, reason
from interp.model.subject import Hooked, Subject
from interp.sources import checkpoint
from interp.sources.hub import hub_reason

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
    folder = checkpoint.find(path if path.exists() else _fetched(source, hookpoint), hookpoint)
    checkpoint.check(folder)
    try:
        coder = SparsifyCoder.from_folder(folder, device)
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        raise InputError(
            f"The sparse coder in {folder} cannot be loaded: {reason(error)}. Fetch it again."
        ) from error
    for name, weights in coder.module.named_parameters():
        if bad := int((~weights.isfinite()).sum()):
            raise InputError(
                f"{folder / checkpoint.WEIGHTS} is damaged: {bad:,} of {weights.numel():,} values "
                f"of {name} are infinite or not numbers (NaN). Fetch the checkpoint again, or "
                "train it again with a lower learning rate."
            )
    return coder


def _fetched(name: str, hookpoint: str) -> Path:
    """The folder that the hub's files for one hookpoint are in, fetched if they are not here."""
    try:
        return Path(snapshot_download(name, allow_patterns=f"{hookpoint}/*"))
    except Exception as error:
        raise InputError(
            f"There is no sparse coder at {name!r}, neither a folder here nor a name on the hub "
            f"that can be fetched: {hub_reason(error)}"
        ) from error


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
    if hooked.output.ndim != 3:
        raise InputError(
            f"{subject.hookpoint!r} of {subject.source} puts out {hooked.output.ndim} dimensions, "
            "not a vector for each token of each context. Choose the layer that it is in."
        )
    widths = {coder_input(coder, hooked).shape[-1], hooked.output.shape[-1]}
    if widths != {coder.d_model}:
        raise InputError(
            f"The coder is for vectors of {coder.d_model} dimensions, but {subject.hookpoint!r} of "
            f"{subject.source} has {' and '.join(map(str, widths))}. It belongs to another model "
            "or hookpoint."
        )
    for what, values in (("reads", hooked.input), ("puts out", hooked.output)):
        refuse_non_finite(f"the module {what}", values[:, first_position:])
    unexplained = fvu(coder, hooked, first_position=first_position)
    if not math.isfinite(unexplained):
        raise InputError(
            f"The output of {subject.hookpoint!r} is the same on all tokens, so there is nothing "
            "to explain. Choose another hookpoint."
        )
    if not unexplained < MAX_FVU:
        raise InputError(
            f"The coder does not fit {subject.hookpoint!r}: it leaves {unexplained:.0%} of the "
            f"variance unexplained (at most {MAX_FVU:.0%} is accepted). Check its hookpoint, and "
            "that its cfg.json says truly whether it is a transcoder ('transcode')."
        )
    return unexplained


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
