"""The part of a model from the hookpoint's layer up, run again and again on the same contexts.

Conditions of an evaluation differ in what the module at the hookpoint puts out at the spliced
positions. The layers below it never change, nor do the keys and values of the positions before the
first spliced one. Both are computed once, and every condition goes on from there.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from interp.model.attention import Mask, attending, layers_of, own_masks
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden, first_argument


@dataclass
class Suspended:
    """Contexts that were run up to the hookpoint and stopped there."""

    subject: Subject
    tokens: Int[Tensor, "context seq"]
    where: slice
    """The spliced positions. Whatever comes after them is never run."""
    hooked: Hooked
    """What goes into the module and comes out of it at the spliced positions."""
    residual: Hidden
    """What goes into the layer that the module is in, at the spliced positions."""
    prefix: list[tuple[Tensor, Tensor]]
    """Keys and values of the positions before the spliced ones, in that layer and those above."""
    masks: list[Mask | None]
    """What each of the model's layers attends to, see :mod:`interp.model.attention`."""
    tuples: bool
    """Whether this architecture's layers put out tuples."""
    branches: ClassVar[bool] = True
    """Conditions that begin alike can share their beginning."""

    def resume(
        self,
        rows: Int[Tensor, "row"],
        outputs: Float[Tensor, "row node d_model"],
        places: Int[Tensor, "row node"],
        sees: Bool[Tensor, "row node node"],
    ) -> Float[Tensor, "row node vocab"]:
        """Logits of some nodes, with these outputs in the module's place. Gradients with respect to
        the outputs are recorded if the outputs require them.

        A node stands at a spliced position of its row's context. It sees the context's prefix, and
        those nodes of its row that ``sees`` says.

        Args:
            rows: The context of each row; a context may come more than once.
            places: The spliced position of each node, counted from the first one.
        """
        start = _layer(self.subject)[1]
        cache = DynamicCache()
        for above, (keys, values) in enumerate(self.prefix):
            there = rows.to(keys.device)  # a model may be on several
            cache.update(keys[there], values[there], start + above)
        every = rows[:, None].expand_as(places)
        seen, prefix = self._with_prefix(sees), torch.arange(self.where.start).to(places)
        mask = self._mask(seen)
        keys = torch.cat([prefix.expand(len(places), -1), self.where.start + places], dim=1)
        with (
            self._skipping(self.residual[every, places]),
            attending(
                layers_of(self.subject),
                self.masks,
                mask,
                seen,
                self.where.start + places,
                keys,
            ),
            self.subject.overwriting(lambda output: outputs.to(output).clone()),
        ):
            logits: Tensor = self.subject.model(
                self.tokens[every, self.where.start + places],
                attention_mask=mask,
                position_ids=self.where.start + places,
                past_key_values=cache,
                use_cache=True,
            ).logits
        return logits

    def resume_paths(
        self, rows: Int[Tensor, "row"], outputs: Float[Tensor, "row position d_model"]
    ) -> Float[Tensor, "row position vocab"]:
        """Logits at all spliced positions, with one output at each, see :meth:`resume`."""
        length = outputs.shape[1]
        places = torch.arange(length, device=outputs.device).expand(len(rows), -1)
        sees = torch.ones(length, length, dtype=torch.bool, device=outputs.device).tril()
        return self.resume(rows, outputs, places, sees.expand(len(rows), -1, -1))

    def _with_prefix(self, sees: Bool[Tensor, "row node node"]) -> Bool[Tensor, "row node key"]:
        """The keys that each node sees: all of its context's prefix, and some nodes."""
        prefix = torch.ones(*sees.shape[:2], self.where.start, dtype=torch.bool).to(sees)
        return torch.cat([prefix, sees], dim=2)

    def _mask(self, seen: Bool[Tensor, "row node key"]) -> Float[Tensor, "row 1 node key"]:
        """The term added to the attention scores: zero where a node sees a key."""
        lowest = torch.finfo(self.residual.dtype).min
        return torch.zeros(seen.shape).to(self.residual).masked_fill(~seen, lowest)[:, None]

    @contextmanager
    def _skipping(self, residual: Hidden) -> Iterator[None]:
        """Within the block, the layers below the hookpoint's only hand on what they once put out.

        Hooks cannot keep a module from running, so their ``forward`` is set aside.
        """

        def forward(*_: Any, **__: Any) -> Any:
            return (residual,) if self.tuples else residual

        layers, start = _layer(self.subject)
        below = list(layers[:start])
        own = [vars(layer).get("forward") for layer in below]  # if it is dispatched to devices
        for layer in below:
            layer.forward = forward
        try:
            yield
        finally:
            for layer, before in zip(below, own, strict=True):
                if before is None:
                    del layer.forward
                else:
                    layer.forward = before


def _layer(subject: Subject) -> tuple[nn.ModuleList, int]:
    """The model's layers, and which of them the hookpoint is in.

    A hookpoint in none of them counts as below the first: then nothing can be skipped.
    """
    found = re.match(r"(.*?)\.(\d+)(\.|$)", subject.hookpoint)
    if found is None:
        return nn.ModuleList(), 0
    layers = subject.model.base_model.get_submodule(found[1])
    assert isinstance(layers, nn.ModuleList)
    return layers, int(found[2])


@torch.inference_mode()
def suspend(subject: Subject, tokens: Int[Tensor, "context seq"], where: slice) -> Suspended:
    """Run contexts up to the hookpoint, once for all conditions.

    Args:
        where: The spliced positions.

    Raises:
        InputError: The model cannot read these tokens, or contexts of this length.
    """
    subject.check_tokens(tokens)
    masks = own_masks(subject, tokens)
    tokens = tokens.to(subject.device)
    layers, start = _layer(subject)
    cache = DynamicCache()
    prefix: list[tuple[Tensor, Tensor]] = []
    if where.start:
        subject.model.base_model(tokens[:, : where.start], past_key_values=cache, use_cache=True)
        prefix = [(keys, values) for keys, values, _ in list(cache)[start:]]
    seen: dict[str, Any] = {}

    def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["residual"] = first_argument(args, kwargs).to(subject.device)

    def leaving(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        seen["tuples"] = isinstance(output, tuple)

    handles = []
    if len(layers):
        handles.append(layers[start].register_forward_pre_hook(entering, with_kwargs=True))
    if start:
        handles.append(layers[start - 1].register_forward_hook(leaving))
    try:
        hooked = subject.capture(tokens[:, where], cache=cache)
    finally:
        for handle in handles:
            handle.remove()
    return Suspended(
        subject,
        tokens,
        where,
        hooked,
        seen.get("residual", hooked.output),
        prefix,
        masks,
        seen.get("tuples", False),
    )
