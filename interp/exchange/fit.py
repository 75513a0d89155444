"""Whether results are of a study's coder, by the names that both give."""

import re
from pathlib import PurePath

from interp.errors import InputError
from interp.exchange.origin import StudyCoder
from interp.sources.models import place_of

ANYWAY = "If it is the same coder, import it anyway (--anyway)."


def check_model(named: str, coder: StudyCoder, where: str, *, anyway: bool) -> None:
    """Refuse another model. Names are compared loosely: by their last part, without case and signs.

    Raises:
        InputError: The names differ.
    """
    if not anyway and _plain(named) != _plain(coder.model):
        raise InputError(
            f"{where} is of the model {named}; the study’s model is {coder.model}. {ANYWAY}"
        )


def check_width(latents: int, coder: StudyCoder, where: str, *, anyway: bool) -> None:
    """Refuse a coder with another number of latents.

    Raises:
        InputError: The numbers differ.
    """
    if not anyway and latents != coder.latents:
        raise InputError(
            f"{where} is of a coder with {latents:,} latents; the study’s has {coder.latents:,}. "
            f"{ANYWAY}"
        )


def same_hookpoint(named: str, hookpoint: str) -> bool:
    """True if two paths mean one module: one may begin at the model, the other below it."""
    return named == hookpoint or named.endswith(f".{hookpoint}") or hookpoint.endswith(f".{named}")


def layer_of(hookpoint: str) -> str:
    """The layer of a hookpoint, as the identifiers of Neuronpedia begin with it."""
    place = place_of(hookpoint)
    return hookpoint if place is None else str(place.layer)


def last_part(model: str) -> str:
    """The name of a model, out of a path or a hub name."""
    return PurePath(model).name.removesuffix(".gguf") or model


def _plain(model: str) -> str:
    return re.sub(r"[\W_]", "", last_part(model)).casefold()
