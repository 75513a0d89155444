"""Places in a model at work where vectors are read and written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import InputError
from interp.sources.sites import Side

Hidden = Float[Tensor, "batch seq d_model"]


@dataclass(frozen=True)
class Tap:
    """One side of a module, to be watched and replaced."""

    module: nn.Module
    side: Side

    @contextmanager
    def watched(self, take: Callable[[Hidden], None]) -> Iterator[None]:
        """Within the block, ``take`` is given whatever stands there."""

        def entering(hidden: Hidden) -> None:
            take(normalised(self.module, hidden) if self.side is Side.NORMALISED else hidden)

        def leaving(output: Any) -> None:
            take(hidden_states(output))

        with self._hooked(entering, leaving):
            yield

    @contextmanager
    def replaced(self, write: Callable[[Hidden], Hidden]) -> Iterator[None]:
        """Within the block, ``write`` says what stands there.

        What goes into a module is overwritten in place: a residual stream that goes into a
        normalisation is added to later, under another name.
        """

        def entering(hidden: Hidden) -> None:
            hidden.copy_(write(hidden))

        def leaving(output: Any) -> Any:
            new = write(hidden_states(output))
            return (new, *output[1:]) if isinstance(output, tuple) else new

        with self._hooked(entering, leaving):
            yield

    @contextmanager
    def _hooked(
        self, entering: Callable[[Hidden], None], leaving: Callable[[Any], Any]
    ) -> Iterator[None]:
        """Within the block, one of them is called with what is on this side."""

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entering(first_argument(args, kwargs))

        def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            return leaving(output)

        if self.side is Side.OUTPUT:
            handle = self.module.register_forward_hook(after)
        else:
            handle = self.module.register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def normalised(norm: nn.Module, hidden: Hidden) -> Hidden:
    """The input of a normalisation, divided by its size and not multiplied by the gain, in float32.

    Raises:
        InputError: The module is no normalisation that divides by a root mean square or a standard
            deviation.
    """
    hidden = hidden.float()
    if isinstance(norm, nn.LayerNorm):
        return nn.functional.layer_norm(hidden, norm.normalized_shape, eps=norm.eps)
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    if "norm" not in type(norm).__name__.lower() or not isinstance(eps, float):
        raise InputError(
            f"A {type(norm).__name__} is no normalisation, so nothing normalised can be read in it."
        )
    if "rms" in type(norm).__name__.lower():
        return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + eps)
    return nn.functional.layer_norm(hidden, hidden.shape[-1:], eps=eps)


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hidden:
    """The hidden states among a module's arguments (always the first, or named so)."""
    hidden: Hidden
    if args:
        hidden = args[0]
    elif "hidden_states" in kwargs:
        hidden = kwargs["hidden_states"]
    else:
        hidden = next(value for value in kwargs.values() if isinstance(value, Tensor))
    return hidden


def hidden_states(output: Any) -> Hidden:
    """The hidden states in what a module puts out: alone, or first in a tuple."""
    hidden: Hidden = output[0] if isinstance(output, tuple) else output
    return hidden
