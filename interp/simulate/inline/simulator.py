"""Simulate latents with a fine-tuned language model that reads the explanation, then the text.

After Choi et al., "Scaling Automatic Neuron Description" (Transluce, 2024). A small language model,
the *base*, is given

    <explanation>⏎<text>

and at each token of the text the distribution over the ten digits is read at that token itself:
nothing is written between the tokens and nothing is decoded. With h_t the base's last hidden state
at token t,

    activation    Σ_d d · softmax_d(w_d · h_t + b_d)        d = 0, …, 9

where w_d begins as the digit's row of the base's output head. Ours differs in what is computed how
often:

- The lowest layers read explanation and text *apart*: what they make of a text serves all latents.
- The layers above them read both *together*: the explanation once, its keys and values serve all
  texts. They have low-rank adapters (LoRA; Hu et al., 2021); the base itself stays as it is.
- The uppermost layers are left out: they turn what this token is into what the next one will be.
"""

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
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
from interp.llm.reading import TOO_LONG
from interp.model.subject import output_head
from interp.simulate.prompted.prompts import DIGITS
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.training.align import Aligned
from interp.simulate.training.trained import Trained
from interp.simulate.two_tower.simulator import Reader, fingerprint, layers_of

VERSION = "inline-1"
"""Version of the layout and the architecture; stored with every simulator that has it."""

BATCH_TOKENS = {"cpu": 600, "cuda": 64_000}
"""Tokens of text that are read at once. On a CPU more of them only leave its caches."""
KEPT_CONTEXTS = 2048
"""Contexts whose states are kept: 84 kB for one of 33 tokens and a base of 640 dimensions."""
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


class Inline:
    """The simulator: a base with the adapters of each fold."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        coder: str,
    ) -> None:
        """
        Args:
            model: The base that it was trained on. It is not changed.
            folder: Output folder of `palimpsest train-simulator`.
            coder: SHA-256 of the weights of the coder whose latents are to be simulated: which
                fold may simulate a latent depends on it.

        Raises:
            InputError: The folder holds no such simulator, its files are damaged, or the model is
                another than the one it was trained on.
        """
        self.coder, self.trained = coder, Trained.read(folder)
        if self.trained.method != "inline":
            raise InputError(
                f"{folder} holds a simulator of the method {self.trained.method}, not inline."
            )
        if fingerprint(model) != self.trained.base_sha256:
            raise InputError(
                f"{folder} was trained on {self.trained.base}, and {model.name_or_path} is another "
                "model. Give that one, or train a simulator on this one."
            )
        self.base = Base(model, tokenizer, Shape.model_validate(self.trained.shape))
        for fold in self.trained.folds:
            self.base.add_fold()
            _load(self.base, folder / fold.file)
        self._kept: dict[str, Text | None] = {}

    @property
    def version(self) -> str:
        return self.trained.version

    @torch.inference_mode()
    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """Simulate latents on the same contexts; see the protocol.

        A latent that every fold was trained on has no value: it is missing, with that reason.
        """
        started = time.perf_counter()
        texts, read = self._read([context[first_position:] for context in contexts])
        for ask in asks:
            values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
            failures, pairs = self._simulate(ask, texts, values[:, first_position:])
            # What is done for all of them at once is told with the first.
            seconds = time.perf_counter() - started
            yield Simulated(values, failures, read + pairs, 0, seconds)
            read, started = 0, time.perf_counter()

    def _simulate(
        self,
        ask: Ask,
        texts: list[Text | None],
        values: Float[np.ndarray, "context place"],
    ) -> tuple[dict[str, int], int]:
        """Fill in the values. Returns why some are missing, and how many tokens were read."""
        fold = self.trained.fold_for(self.coder, ask.latent)
        if fold is None:
            return {"every fold was trained on this latent": values.size}, 0
        if not ask.explanation.strip():
            return {"the explanation has no text": values.size}, 0
        self.base.use(fold)
        states = self.base.explanation(ask.explanation)
        explanation = self.base.read(states)
        lengths = {
            row: len(text.states)
            for row, text in enumerate(texts)
            if text is not None and len(states) + len(text.states) <= self.base.longest
        }
        digits = torch.arange(TOP + 1)
        for rows in _batches(lengths, self.base.upper.device.type):
            some = [text for row in rows if (text := texts[row]) is not None]
            for row, logits in zip(rows, self.base.logits(explanation, some), strict=True):
                values[row] = (logits.softmax(-1).cpu() @ digits).numpy()
        missing = (len(texts) - len(lengths)) * values.shape[1]
        return ({TOO_LONG: missing} if missing else {}), len(states) + sum(lengths.values())

    def _read(self, contexts: list[Sequence[str]]) -> tuple[list[Text | None], int]:
        """The states of the lowest layers for contexts, and the number of tokens read for them.

        It is kept: most often the same contexts are asked for again.
        """
        keys = ["\0".join(context) for context in contexts]
        new = {key: one for key, one in zip(keys, contexts, strict=True) if key not in self._kept}
        while self._kept and len(self._kept) + len(new) > KEPT_CONTEXTS:
            oldest = next(iter(self._kept))
            if oldest in keys:
                break
            del self._kept[oldest]
        found = self.base.texts(list(new.values()))
        self._kept.update(zip(new, found, strict=True))
        return [self._kept[key] for key in keys], sum(len(one.states) for one in found if one)


def _batches(lengths: dict[int, int], device: str) -> Iterator[list[int]]:
    """Cut rows into batches, shortest first, so that little is filled up."""
    most = BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"])
    batch: list[int] = []
    for row in sorted(lengths, key=lambda row: lengths[row]):
        if batch and (len(batch) + 1) * lengths[row] > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def save_fold(state: dict[str, Tensor], path: Path) -> None:
    """Write a fold's weights (:meth:`Base.state`) in half precision."""
    save_file({name: value.half().contiguous() for name, value in state.items()}, path)


def _load(base: Base, path: Path) -> None:
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
    """A cache for several rows that all follow the same text; the given one stays as it is."""
    repeated = DynamicCache()
    for depth, (keys, values, *_) in enumerate(cache):
        repeated.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), depth)
    return repeated
