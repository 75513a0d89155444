"""The frozen base of a trained simulator: it turns texts and explanations into hidden states."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.corpus.text import encode, encode_placed
from interp.errors import InputError
from interp.simulate.reads import EXPLANATION_TOKENS
from interp.simulate.training.align import Aligned, align
from interp.simulate.training.trained import Trained

BATCH = 128
"""The most texts that are read at once: on a processor so many take a quarter less time each than
32 do."""
LONGER = 1.15
"""A text that is so many times as long as the shortest of a batch begins another one: what is read
of the others beyond their ends is lost. Batches of fewer than ``FEW`` texts are no faster."""
FEW = 6


class Reader:
    """The frozen base: hidden states of texts and of explanations."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int]
    ) -> None:
        """
        Args:
            layers: The layers after which states are taken, with 0 for the embedding.

        Raises:
            InputError: The model has not so many layers.
        """
        depth = model.config.get_text_config().num_hidden_layers
        if not layers or max(layers) > depth:
            raise InputError(f"{model.name_or_path} has {depth} layers, not {max(layers)}.")
        self.model, self.tokenizer, self.layers = model, tokenizer, list(layers)

    @property
    def size(self) -> int:
        """Dimensions of a token's state."""
        return len(self.layers) * int(self.model.config.get_text_config().hidden_size)

    def text(self, tokens: Sequence[str]) -> Aligned:
        """A context given as the subject's token strings."""
        return align(tokens, self.tokenizer)

    def explanation(self, text: str) -> Aligned:
        """An explanation: its states are those of all of its tokens."""
        ids = encode(self.tokenizer, text)[:EXPLANATION_TOKENS]
        return Aligned(ids, np.arange(len(ids)))

    def unread(self, text: str) -> str:
        """The part of an explanation that is cut off. Empty if all of it is read."""
        starts = encode_placed(self.tokenizer, text).starts
        return text[starts[EXPLANATION_TOKENS] :] if len(starts) > EXPLANATION_TOKENS else ""

    @torch.inference_mode()
    def states(self, batch: Sequence[Aligned]) -> list[Float[Tensor, "place state"]]:
        """Hidden states at the places of each text, in float32 on the CPU."""
        bos = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        found: list[Tensor] = [torch.empty(0)] * len(batch)
        order = sorted(range(len(batch)), key=lambda i: len(batch[i].ids))
        for rows in _batches(order, [len(one.ids) + len(bos) for one in batch]):
            width = len(bos) + len(batch[rows[-1]].ids)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, number in enumerate(rows):
                one = bos + batch[number].ids
                ids[row, : len(one)] = torch.tensor(one)
                mask[row, : len(one)] = 1
            states = self._forward(ids.to(self.model.device), mask.to(self.model.device))
            for row, number in enumerate(rows):
                places = torch.from_numpy(batch[number].places) + len(bos)
                found[number] = states[row, places].float().cpu()
        return found

    def _forward(
        self, ids: Int[Tensor, "batch seq"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq state"]:
        """States after the wanted layers. The layers above them are not run."""
        taken: dict[int, Tensor] = {}

        class Enough(Exception):
            pass

        def take(depth: int, hidden: Tensor) -> None:
            if depth in self.layers:
                taken[depth] = hidden
            if depth == max(self.layers):
                raise Enough

        blocks = layers_of(self.model)
        handles = [
            block.register_forward_pre_hook(
                lambda _, args, kwargs, depth=depth: take(
                    depth, args[0] if args else kwargs["hidden_states"]
                ),
                with_kwargs=True,
            )
            for depth, block in enumerate(blocks)
        ]
        try:
            out = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
            taken[len(blocks)] = out.last_hidden_state
        except Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat([taken[depth] for depth in self.layers], dim=-1)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Texts of about one length each, from their order by length."""
    rows: list[int] = []
    for number in order:
        longer = rows and len(rows) >= FEW and lengths[number] > LONGER * lengths[rows[0]]
        if longer or len(rows) == BATCH:
            yield rows
            rows = []
        rows.append(number)
    if rows:
        yield rows


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, whatever its architecture calls them."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"{model.name_or_path} has no list of {depth} layers to take states from.")


def is_quicker_in_bfloat16(device: torch.device) -> bool:
    """True if a device multiplies in bfloat16 without emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch do not say.
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(can.get(name) for name in ("amx_bf16", "avx512_bf16"))


def quick(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model in bfloat16, if its device multiplies that faster than float32: on a
    processor with AVX512-BF16 it reads twice as fast. Else the model itself."""
    if not is_quicker_in_bfloat16(model.device):
        return model
    # Weight by weight, so that there is never a second copy in float32.
    weights = {
        id(weight): nn.Parameter(weight.to(torch.bfloat16), requires_grad=False)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, dict(weights))


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 of a model's vectors of weights (norms and biases), which tell models apart and are
    few. The same whatever precision up to float16 they were loaded in."""
    whole = hashlib.sha256()
    for name, weight in sorted(model.base_model.named_parameters()):
        if weight.ndim == 1:
            whole.update(name.encode() + weight.detach().cpu().half().numpy().tobytes())
    return whole.hexdigest()


def check_base(trained: Trained, model: PreTrainedModel, folder: Path) -> None:
    """Refuse another model than the one that the simulator in a folder was trained on.

    Raises:
        InputError: It is another one.
    """
    if fingerprint(model) != trained.base_sha256:
        raise InputError(
            f"{folder} was trained on {trained.base}, and {model.name_or_path} is another "
            "model. Give that one, or train a simulator on this one."
        )
