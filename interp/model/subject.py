"""The subject model: a Hugging Face causal language model with one hookpoint.

A hookpoint is named as ``sparsify`` names it: the path of a module below the model without its
head, such as ``layers.10.mlp`` (Llama), ``h.3.mlp`` (GPT-2) or ``layers.6`` (a residual stream).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from interp.errors import InputError, reason
from interp.hub import hub_reason
from interp.sources.models import longest_context

Hidden = Float[Tensor, "batch seq d_model"]
Tokens = Int[Tensor, "batch seq"]


TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16_384}
"""Tokens that are run at once, or one context if that has more."""


class Hooked(NamedTuple):
    """The input and the output of the module at the hookpoint."""

    input: Hidden
    output: Hidden


class _Stop(Exception):
    """Ends a forward pass at the hookpoint."""


@dataclass
class Subject:
    """A loaded subject model and its hookpoint."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    hookpoint: str

    def __post_init__(self) -> None:
        modules = dict(self.model.base_model.named_modules())
        del modules[""]  # the model itself is no hookpoint
        if self.hookpoint not in modules:
            names = [name for name in modules if name.count(".") <= 2][:11]
            raise InputError(
                f"{self.source} has no module {self.hookpoint!r}. "
                f"Its modules are named like {', '.join(names)}."
            )
        self.module: nn.Module = modules[self.hookpoint]

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def d_model(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    def check_tokens(self, tokens: Tokens) -> None:
        """Refuse tokens that the model has no embedding for, and more than it has positions for.

        On a GPU the model itself would not say which, and would leave the device unusable.

        Raises:
            InputError: The model cannot read these.
        """
        longest = longest_context(self.model.config.get_text_config().to_dict())
        if longest is not None and tokens.shape[1] > longest:
            raise InputError(
                f"The contexts are {tokens.shape[1]:,} tokens long, but {self.source} has "
                f"positions for {longest:,}. Use contexts of at most {longest:,} tokens."
            )
        known = len(self.model.get_input_embeddings().get_parameter("weight"))
        if (largest := int(tokens.max())) >= known:
            raise InputError(
                f"The tokenizer of {self.source} gives a token the number {largest:,}, but the "
                f"model has embeddings for {known:,} tokens only. Put the tokenizer that belongs "
                "to the model into its folder."
            )

    @torch.inference_mode()
    def capture(self, tokens: Tokens, cache: Cache | None = None) -> Hooked:
        """Run the model up to the hookpoint, and no further.

        Nothing above the hookpoint is computed: for layer 10 of 30 that saves two thirds of the
        work and the whole output head.

        Args:
            cache: Keys and values of tokens that come before these.

        Raises:
            InputError: The model cannot read these tokens, or never calls the module.
        """
        self.check_tokens(tokens)
        caught: list[Hooked] = []

        def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            caught.append(Hooked(first_argument(args, kwargs), hidden_states(output)))
            raise _Stop

        handle = self.module.register_forward_hook(catch, with_kwargs=True)
        try:
            self.model.base_model(
                tokens.to(self.device), past_key_values=cache, use_cache=cache is not None
            )
        except _Stop:
            pass
        finally:
            handle.remove()
        if not caught:
            raise InputError(f"The module {self.hookpoint!r} of {self.source} is never called.")
        return caught[0]

    def captures(
        self, tokens: Tokens, tokens_at_once: int | None = None
    ) -> Iterator[tuple[int, Hooked]]:
        """Run many contexts up to the hookpoint, some at once, so that memory stays bounded.

        Args:
            tokens_at_once: See :data:`TOKENS_AT_ONCE`.

        Returns:
            The first context of each batch, and what :meth:`capture` gives for it.

        Raises:
            InputError: See :meth:`capture`.
        """
        size = self._at_once(tokens, tokens_at_once)
        for start in range(0, len(tokens), size):
            yield start, self.capture(tokens[start : start + size])

    def _at_once(self, tokens: Tokens, tokens_at_once: int | None = None) -> int:
        """The contexts that are run at once."""
        most = tokens_at_once or TOKENS_AT_ONCE.get(self.device.type, TOKENS_AT_ONCE["cpu"])
        return max(1, most // tokens.shape[1])

    @contextmanager
    def replacing(self, replace: Callable[[Hooked], Hidden]) -> Iterator[None]:
        """Within the block, the module's output is whatever ``replace`` returns for it."""

        def swap(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            new = replace(Hooked(first_argument(args, kwargs), hidden_states(output)))
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = self.module.register_forward_hook(swap, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @torch.inference_mode()
    def losses(self, tokens: Tokens) -> Float[Tensor, "batch seq-1"]:
        """Cross-entropy of every next token, in nats, in float32. Some contexts are run at once."""
        return torch.cat([self._losses(some) for some in tokens.split(self._at_once(tokens))])

    def _losses(self, tokens: Tokens) -> Float[Tensor, "batch seq-1"]:
        tokens = tokens.to(self.device)
        logits = self.model(tokens, use_cache=False).logits[:, :-1]
        targets = tokens[:, 1:]
        # Over one flat dimension: summing along a strided one costs three digits of precision.
        losses = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), reduction="none"
        )
        return losses.view(targets.shape)


def output_head(model: PreTrainedModel) -> Float[Tensor, "vocab d_model"]:
    """The weight that turns the last hidden states into logits.

    Raises:
        InputError: The model has none: it is not a causal language model.
    """
    head: nn.Linear | None = model.get_output_embeddings()
    if head is None:
        raise InputError(
            f"{model.name_or_path} has no output head: it is no causal language model."
        )
    return head.weight


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hidden:
    """The hidden states among a module's arguments (always the first, or named so)."""
    hidden: Hidden = args[0] if args else kwargs["hidden_states"]
    return hidden


def hidden_states(output: Any) -> Hidden:
    """The hidden states in what a module puts out: alone, or first in a tuple."""
    hidden: Hidden = output[0] if isinstance(output, tuple) else output
    return hidden


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_causal_lm(
    source: str, *, revision: str | None = None, dtype: torch.dtype, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Args:
        source: A folder with a Transformers checkpoint, a ``.gguf`` file, or a hub name.

    Raises:
        InputError: There is no such model, or its files are damaged.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        where, extra = str(path.parent), {"gguf_file": path.name}
        _check_gguf(path)
    else:
        where, extra = str(path) if path.exists() else source, {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, **extra)
        model = AutoModelForCausalLM.from_pretrained(where, revision=revision, dtype=dtype, **extra)
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        why = f"{reason(error)}." if path.exists() else hub_reason(error)
        raise InputError(
            f"The model {source!r} cannot be loaded: {why} "
            "Give a folder with a Transformers checkpoint, a .gguf file, or a hub name."
        ) from error
    nn.Module.to(model, device)
    model.train(False)
    return model, tokenizer


def _check_gguf(path: Path) -> None:
    """Refuse a GGUF file that is missing or cut short, before it is read for half a minute."""
    from gguf import GGUFReader

    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        last = max(GGUFReader(path).tensors, key=lambda t: t.data_offset)
        needed = int(last.data_offset) + int(last.n_bytes)
    except Exception as error:  # the reader raises whatever the damage makes it stumble over
        raise InputError(
            f"{path} is not a whole GGUF file ({error}). It may be cut short: fetch it again."
        ) from None
    if path.stat().st_size < needed:
        raise InputError(
            f"{path} is cut short: {path.stat().st_size} bytes, but its last tensor ends at "
            f"{needed}. Fetch it again."
        )


def convert_gguf(path: Path, folder: Path) -> None:
    """Write a GGUF model as a Transformers checkpoint, which loads many times faster.

    The weights are the dequantised ones, in float32.
    """
    model, tokenizer = load_causal_lm(str(path), dtype=torch.float32, device=torch.device("cpu"))
    # The loaded weights are plain tensors, but Transformers refuses to save what still carries
    # the mark of its quantisation.
    del model.config.quantization_config
    vars(model).update(hf_quantizer=None, is_quantized=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_subject(
    source: str,
    hookpoint: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Subject:
    """Load a subject model. See :func:`load_causal_lm` for ``source`` and the errors."""
    model, tokenizer = load_causal_lm(
        source, revision=revision, dtype=dtype, device=device or default_device()
    )
    model.requires_grad_(False)
    return Subject(model, tokenizer, source, hookpoint)
