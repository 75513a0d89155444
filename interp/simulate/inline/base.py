"""The base of the inline simulator: a language model in two parts, with adapters in the upper one.

The layout is that of :mod:`interp.simulate.inline.simulator`.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from interp.errors import InputError
from interp.llm import tokens
from interp.model.subject import output_head
from interp.simulate.prompted.prompts import DIGITS
from interp.simulate.training.align import Aligned
from interp.simulate.training.reader import Reader, layers_of

SILENT = 5.0
"""Bias of the digit 0 before anything is trained: most latents are silent on most tokens."""
MAX_DIFFERENCE = 0.02
"""How far hidden states may be from those of a whole forward, in units of the largest."""
HEAD = "digits."
"""Begins the names of the output rows' weights in a file."""


class Shape(BaseModel, frozen=True):
    """The base's layers in use, and the size of the adapters."""

    apart: int = Field(ge=0)
    """The lowest layers, which read explanation and text apart."""
    together: int = Field(gt=0)
    """The layers above them, which read both together and have adapters."""
    rank: int = Field(8, gt=0)
    """Of the adapters."""


def default_shape(depth: int) -> Shape:
    """The shape for a base of some depth.

    A token's own meaning is mostly there after a quarter of the layers. In the last quarter a model
    represents the next token rather than this one.
    """
    apart = round(depth * 0.28)
    return Shape(apart=apart, together=max(1, round(depth * 0.72) - apart))


class Text(NamedTuple):
    """A text as the lowest layers leave it."""

    states: Float[Tensor, "token state"]
    places: Int[np.ndarray, "place"]
    """For each of the subject's tokens, the base's token at which it is simulated."""


class Base:
    """A language model in two parts, the upper one with an adapter and output rows for each fold.

    The given model may be in use elsewhere, and stays as it is: the upper part shares its weights,
    but not the modules around them.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, shape: Shape
    ) -> None:
        """
        Raises:
            InputError: The model has fewer layers, its tokenizer no tokens for the digits, or its
                architecture is none that can go on from what it has read.
        """
        used, depth = shape.apart + shape.together, len(layers_of(model))
        if used > depth:
            raise InputError(f"{model.name_or_path} has {depth} layers, not {used}.")
        digits = tokens.encoder(tokenizer).answers([], DIGITS)
        self._rows = output_head(model)[digits].detach().float()
        self._heads: list[nn.Linear] = []
        self._fold = 0
        config = model.config.get_text_config()
        self.longest = int(getattr(config, "max_position_embeddings", None) or 2**31)
        self.lower = Reader(model, tokenizer, [shape.apart])
        self._newline = tokens.encoder(tokenizer).after("\n")
        self.upper = _upper(model, shape)
        self._lora = LoraConfig(
            r=shape.rank,
            lora_alpha=2 * shape.rank,
            # By name: a second fold's adapter is not to adapt the first one's.
            target_modules=[
                name
                for name, module in self.upper.named_modules()
                if isinstance(module, nn.Linear | Conv1D)
            ],
        )
        self._check()

    def add_fold(self) -> None:
        """Add a fold whose adapter changes nothing yet, and use it."""
        head = nn.Linear(self._rows.shape[1], len(DIGITS)).to(self.upper.device)
        with torch.no_grad():
            head.weight.copy_(self._rows)
            head.bias.zero_()[0] = SILENT
        self._heads.append(head)
        with warnings.catch_warnings():  # several adapters are meant
            warnings.simplefilter("ignore", UserWarning)
            self.upper.add_adapter(self._lora, _adapter(len(self._heads) - 1))
        self.use(len(self._heads) - 1)

    def use(self, fold: int) -> None:
        """Answer with a fold from now on."""
        self._fold = fold
        self.upper.set_adapter(_adapter(fold))

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters of the fold in use."""
        adapter = [
            weight
            for name, weight in self.upper.named_parameters()
            if f".{_adapter(self._fold)}." in name
        ]
        return [*adapter, *self._heads[self._fold].parameters()]

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights of the fold in use."""
        adapter = get_peft_model_state_dict(self.upper, adapter_name=_adapter(self._fold))
        head = self._heads[self._fold].state_dict(prefix=HEAD)
        return {name: value.detach().clone() for name, value in (adapter | head).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Give the fold in use other weights.

        Raises:
            ValueError: They are not of this shape.
        """
        wanted = {name: value.shape for name, value in self.state().items()}
        if {name: value.shape for name, value in state.items()} != wanted:
            raise ValueError("it was made with another base or shape")
        head = {name: value for name, value in state.items() if name.startswith(HEAD)}
        adapter = {name: value for name, value in state.items() if name not in head}
        set_peft_model_state_dict(self.upper, adapter, _adapter(self._fold))
        self._heads[self._fold].load_state_dict(
            {name.removeprefix(HEAD): value for name, value in head.items()}
        )

    def texts(self, contexts: Sequence[Sequence[str]]) -> list[Text | None]:
        """The states of the lowest layers for contexts, given as the subject's token strings.

        None for a context that is longer than the base can read.
        """
        aligned = [self.lower.text(context) for context in contexts]
        fit = [one for one in aligned if len(one.ids) < self.longest]
        whole = [one._replace(places=np.arange(len(one.ids))) for one in fit]
        states = iter(self.lower.states(whole))
        return [
            Text(next(states), one.places) if len(one.ids) < self.longest else None
            for one in aligned
        ]

    def explanation(self, text: str) -> Float[Tensor, "token state"]:
        """The states of the lowest layers for an explanation, on one line of its own."""
        shown = self.lower.explanation(" ".join(text.split()))
        ids = [*shown.ids, *self._newline]
        # The token that begins a sequence is at place -1. Models rest their attention on it.
        begins = self.lower.tokenizer.bos_token_id is not None
        (states,) = self.lower.states([Aligned(ids, np.arange(-begins, len(ids)))])
        return states.clone()  # outside of inference, so that training may go through it

    def read(self, explanation: Float[Tensor, "token state"]) -> DynamicCache:
        """Keys and values of an explanation, which all texts follow."""
        cache = DynamicCache()
        self._forward(explanation[None], cache)
        return cache

    def logits(
        self, explanation: DynamicCache, texts: Sequence[Text]
    ) -> list[Float[Tensor, "place digit"]]:
        """Logits of the ten digits at the places of each text."""
        # What fills up the shorter texts comes after them, where they do not look.
        states = nn.utils.rnn.pad_sequence([text.states for text in texts], batch_first=True)
        hidden = self._forward(states, _repeated(explanation, len(texts)))
        head = self._heads[self._fold]
        return [head(hidden[row, text.places].float()) for row, text in enumerate(texts)]

    def _forward(
        self, states: Float[Tensor, "batch token state"], cache: DynamicCache
    ) -> Float[Tensor, "batch token state"]:
        """Run the upper part on states of the lower one."""
        states = states.to(self.upper.device, self.upper.dtype)

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            # Some architectures add to what they take for embeddings, such as their positions.
            if args:
                return (states, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": states}

        handle = layers_of(self.upper)[0].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            hidden: Tensor = self.upper(
                inputs_embeds=states, past_key_values=cache, use_cache=True
            ).last_hidden_state
        finally:
            handle.remove()
        return hidden

    @torch.inference_mode()
    def _check(self) -> None:
        """Refuse a base that does not read in two parts what it reads at once."""
        states = self.explanation("An explanation of one latent, and the text that follows it.")
        half = len(states) // 2
        try:
            whole = self._forward(states[None], DynamicCache())[0]
            second = self._forward(states[None, half:], _repeated(self.read(states[:half]), 1))[0]
            difference = float((whole[half:] - second).abs().max() / whole.abs().max())
            wrong = "" if difference < MAX_DIFFERENCE else "what it has read cannot be kept"
        except Exception as error:  # whatever an architecture stumbles over
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            raise InputError(
                f"{self.lower.model.name_or_path} cannot be the base of an inline simulator "
                f"({wrong}). Use a causal transformer."
            )


def save_fold(state: dict[str, Tensor], path: Path) -> None:
    """Write a fold's weights (:meth:`Base.state`) in half precision."""
    save_file({name: value.half().contiguous() for name, value in state.items()}, path)


def load_fold(base: Base, path: Path) -> None:
    """Read the weights of the fold in use."""
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}. Train the simulator again.") from None
    try:
        base.load_state(state)
    except ValueError as error:
        raise InputError(f"{path} does not fit its simulator.json: {error}.") from None


def _adapter(fold: int) -> str:
    """A name that is no part of a base's module names, among which PEFT looks for it."""
    return f"fold{fold}"


def _upper(model: PreTrainedModel, shape: Shape) -> PreTrainedModel:
    """The layers that read together, as a model of its own.

    It has the same weights, in the same memory, but they are not trained.
    """
    below_head = model.base_model
    shared: dict[int, Tensor] = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=False)
        for weight in below_head.parameters()
    }
    shared |= {id(buffer): buffer for buffer in below_head.buffers()}
    upper = copy.deepcopy(below_head, shared)
    assert isinstance(upper, PreTrainedModel)
    layers, config = layers_of(upper), upper.config.get_text_config()
    del layers[shape.apart + shape.together :], layers[: shape.apart]
    config.num_hidden_layers = shape.together
    if "layer_types" in vars(config):
        config.layer_types = config.layer_types[shape.apart :][: shape.together]
    for module in layers.modules():
        if isinstance(number := getattr(module, "layer_idx", None), int):
            # Where in a cache its keys and values are kept.
            vars(module).update(layer_idx=number - shape.apart)
    upper.eval()
    return upper


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache for several rows that all follow the same text. The given one stays as it is."""
    repeated = DynamicCache()
    for depth, (keys, values, *_) in enumerate(cache):
        repeated.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), depth)
    return repeated
