"""The subject model: a Hugging Face causal language model, with the site that a coder reads and the
one that it writes.

A site is named as :mod:`interp.sources.sites` has it. ``sparsify`` calls the site written the
*hookpoint*: the path of a module below the model without its head, such as ``layers.10.mlp``
(Llama), ``h.3.mlp`` (GPT-2) or ``layers.6`` (a residual stream).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from accelerate.utils import align_module_device
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
from interp.model.taps import Hidden, Tap
from interp.sources.models import check_tokenizer, check_whole_gguf, longest_context
from interp.sources.sites import Side, Site, find_site
from interp.vocabulary import Dtype

Tokens = Int[Tensor, "batch seq"]


DeviceMap = str | dict[str, str]
TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16_384}
"""Tokens that are run at once, or one context if that has more."""


class Hooked(NamedTuple):
    """What stands at the two sites."""

    input: Hidden
    """What a transcoder reads."""
    output: Hidden
    """What stands at the site written."""


class _Stop(Exception):
    """Ends a forward pass where enough was seen."""


@dataclass
class Subject:
    """A loaded subject model and its sites."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    hookpoint: str
    """The site written, by any of its names; then by its canonical one."""
    reads: str = ""
    """The site that a transcoder reads. By default, the input of the module written."""
    resumable: bool = True
    """Whether the model can be run on from the site written, see :mod:`interp.model.resume`."""

    def __post_init__(self) -> None:
        modules = dict(self.model.base_model.named_modules())
        del modules[""]  # the model itself is no site
        config = self.model.config.get_text_config()
        parallel = bool(getattr(config, "use_parallel_residual", False))
        try:
            written = find_site(self.hookpoint, modules, parallel=parallel)
            read = (
                find_site(self.reads, modules, parallel=parallel)
                if self.reads
                else Site(written.module, Side.INPUT)
            )
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from None
        if written.side is Side.NORMALISED:
            raise InputError(
                f"{self.hookpoint} lies within a module, where nothing can be written. It can only "
                "be read."
            )
        self.hookpoint, self.reads = str(written), str(read)
        self._written = Tap(modules[written.module], written.side)
        self._read = Tap(modules[read.module], read.side)

    @property
    def device(self) -> torch.device:
        """The device that tokens go to, and that captured vectors are on, wherever a layer is."""
        return device_of(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of all vectors captured."""
        return self.model.dtype

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
        caught: dict[str, Hidden] = {}

        def catch(what: str, hidden: Hidden) -> None:
            if what == "input" and "output" in caught:
                raise InputError(
                    f"{self.reads} comes after {self.hookpoint} in {self.source}. A coder cannot "
                    "write before it has read."
                )
            caught[what] = hidden.to(self.device)
            if len(caught) == len(Hooked._fields):
                raise _Stop

        with ExitStack() as taps:
            taps.enter_context(self._read.watched(lambda hidden: catch("input", hidden)))
            taps.enter_context(self._written.watched(lambda hidden: catch("output", hidden)))
            try:
                self.model.base_model(
                    tokens.to(self.device), past_key_values=cache, use_cache=cache is not None
                )
            except _Stop:
                pass
        if len(caught) < len(Hooked._fields):
            unseen = self.hookpoint if "output" not in caught else self.reads
            raise InputError(f"The module {unseen!r} of {self.source} is never called.")
        return Hooked(**caught)

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
        """Within the block, what ``replace`` returns stands at the site written."""
        seen: list[Hidden] = []

        def note(hidden: Hidden) -> None:
            seen[:] = [hidden.to(self.device)]

        with (
            self._read.watched(note),
            self.overwriting(lambda output: replace(Hooked(seen[0], output))),
        ):
            yield

    @contextmanager
    def overwriting(self, write: Callable[[Hidden], Hidden]) -> Iterator[None]:
        """Within the block, what ``write`` makes of it stands at the site written."""
        with self._written.replaced(lambda hidden: write(hidden.to(self.device)).to(hidden.device)):
            yield

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
    with align_module_device(head):  # it may be offloaded
        return head.weight


def device_of(model: PreTrainedModel) -> torch.device:
    """The device that a model takes tokens on. Weights that are offloaded are on none."""
    return next(one.device for one in model.parameters() if one.device.type != "meta")


def torch_dtype(dtype: Dtype) -> torch.dtype | Literal["auto"]:
    """What Transformers calls it."""
    if dtype is Dtype.AUTO:
        return "auto"
    found: torch.dtype = getattr(torch, dtype)
    return found


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_causal_lm(
    source: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype | Literal["auto"],
    device: torch.device,
    device_map: DeviceMap | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Args:
        source: A folder with a Transformers checkpoint, a ``.gguf`` file, or a hub name.
        dtype: Of the weights. ``auto`` is that of the checkpoint.
        device: Where the whole model goes, unless there is a map.
        device_map: Where each part goes, as ``from_pretrained`` has it: for a model that is larger
            than one device.

    Raises:
        InputError: There is no such model, or its files are damaged.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        where, extra = str(path.parent), {"gguf_file": path.name}
        check_whole_gguf(path)
    else:
        where, extra = str(path) if path.exists() else source, {}
        if (path / "config.json").is_file():
            check_tokenizer(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, **extra)
        model = AutoModelForCausalLM.from_pretrained(
            where, revision=revision, dtype=dtype, device_map=device_map, **extra
        )
    except Exception as error:  # the loader raises whatever the damage makes it stumble over
        why = f"{reason(error)}." if path.exists() else hub_reason(error)
        raise InputError(
            f"The model {source!r} cannot be loaded: {why} "
            "Give a folder with a Transformers checkpoint, a .gguf file, or a hub name."
        ) from error
    if device_map is None:
        nn.Module.to(model, device)
    model.train(False)
    return model, tokenizer


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
    reads: str = "",
    revision: str | None = None,
    dtype: torch.dtype | Literal["auto"] = torch.float32,
    device: torch.device | None = None,
    device_map: DeviceMap | None = None,
) -> Subject:
    """Load a subject model. See :func:`load_causal_lm` for ``source``, ``dtype``, ``device_map``
    and the errors, and :class:`Subject` for the sites."""
    model, tokenizer = load_causal_lm(
        source,
        revision=revision,
        dtype=dtype,
        device=device or default_device(),
        device_map=device_map,
    )
    model.requires_grad_(False)
    return Subject(model, tokenizer, source, hookpoint, reads)
