"""The positions that each layer of a model attends to, as the model itself has it.

Layers may attend to a sliding window, to a chunk, or to everything before. Configurations say so in
many ways, with switches that turn it off again. So the masks are read from the model at work, and a
tree of outputs (see :mod:`interp.rewriting.tree`) is given masks made from them by true positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention

from interp.model.subject import Subject

Mask = Float[Tensor, "head query key"]
"""What is added to a layer's attention scores: zero where a query sees a key. One head if all are
alike."""

_own: WeakKeyDictionary[PreTrainedModel, dict[int, list[Mask | None]]] = WeakKeyDictionary()


def layers_of(subject: Subject) -> nn.ModuleList:
    """The model's layers; none if they are no list of modules."""
    count = subject.model.config.get_text_config().num_hidden_layers
    for module in subject.model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    return nn.ModuleList()


@torch.inference_mode()
def own_masks(subject: Subject, tokens: Int[Tensor, "context seq"]) -> list[Mask | None]:
    """The mask of each layer on contexts of this length; None where it is the plain causal one."""
    known = _own.setdefault(subject.model, {})
    length = tokens.shape[1]
    if length not in known:
        known[length] = _read_masks(subject, tokens[:1])
    return known[length]


def _read_masks(subject: Subject, tokens: Int[Tensor, "1 seq"]) -> list[Mask | None]:
    length = tokens.shape[1]
    layers = layers_of(subject)
    found: list[Mask | None] = [None] * len(layers)
    causal = torch.ones(length, length, dtype=torch.bool, device=subject.device).tril()

    def note(number: int, values: Sequence[Any]) -> None:
        masks = [m for m in values if isinstance(m, Tensor) and m.shape[2:] == (length, length)]
        found[number] = _additive(masks[0][0]) if masks else None

    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            handle = layer.register_forward_pre_hook(
                lambda _, args, kwargs, n=number: note(n, [*args, *kwargs.values()]),
                with_kwargs=True,
            )
            hooks.callback(handle.remove)
        subject.model.base_model(tokens.to(subject.device), use_cache=False)
    for number, layer in enumerate(layers):
        for attention in _with_masks_inside(layer):
            own = attention.bias[0, :, :length, :length].to(subject.device)
            found[number] = _additive(own)
    plain = _additive(causal[None])
    return [None if mask is None or torch.equal(mask, plain) else mask for mask in found]


def _with_masks_inside(module: nn.Module) -> Iterator[GPTNeoSelfAttention]:
    """GPT-Neo's attentions, which have masks by place in the sequence, beside that of the model."""
    for inner in module.modules():
        if isinstance(inner, GPTNeoSelfAttention):
            yield inner


def _additive(mask: Tensor) -> Mask:
    """A mask as what is added to scores, whether it says so already or says what is seen."""
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
    added = torch.zeros(mask.shape, device=mask.device) if mask is seen else mask.float()
    return added.masked_fill(~seen, torch.finfo(torch.float32).min)


@contextmanager
def attending(
    layers: nn.ModuleList,
    masks: Sequence[Mask | None],
    given: Float[Tensor, "row 1 node key"],
    seen: Bool[Tensor, "row node key"],
    queries: Int[Tensor, "row node"],
    keys: Int[Tensor, "row key"],
) -> Iterator[None]:
    """Within the block, each layer also sees no further than its own mask lets it.

    Args:
        given: The mask that the model is called with, which it hands on to its layers.
        seen: True for keys that a node sees if a layer attends to everything before.
        queries, keys: Their true positions in the context.
    """
    made: dict[int, Tensor] = {}
    with ExitStack() as restored:
        for layer, mask in zip(layers, masks, strict=True):
            for attention in _with_masks_inside(layer):
                restored.callback(setattr, attention, "bias", attention.bias)
                everything = attention.bias.new_ones(1, 1, 1, 1)
                everything = everything.expand(1, 1, *[keys.shape[1]] * 2)
                setattr(attention, "bias", everything)  # noqa: B010 - typed as a Buffer
            if mask is None:
                continue
            if id(mask) not in made:
                own = mask[:, queries[:, :, None], keys[:, None, :]].transpose(0, 1)
                lowest = torch.finfo(given.dtype).min
                own = own.clamp_min(lowest).to(given.dtype)
                made[id(mask)] = own.masked_fill(~seen[:, None], lowest)
            handle = layer.register_forward_pre_hook(
                _handing(given, made[id(mask)]), with_kwargs=True
            )
            restored.callback(handle.remove)
        yield


def _handing(given: Tensor, mask: Tensor) -> Any:
    """A hook that hands a layer this mask in the place of the given one."""

    def swap(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not any(value is given for value in (*args, *kwargs.values())):
            raise RuntimeError("its layers are not handed the mask that it is given")
        return (
            tuple(mask if value is given else value for value in args),
            {name: mask if value is given else value for name, value in kwargs.items()},
        )

    return swap
