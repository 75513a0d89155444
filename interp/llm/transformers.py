"""A language model run in this process by Transformers."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from interp.errors import InputError
from interp.subject import output_head


class Query(NamedTuple):
    """Tokens that follow the prefix, and the places where an answer is read."""

    ids: list[int]
    read_at: list[int]
    """Positions in ``ids``: the answer's distribution is the prediction made from each."""


class Prefix(NamedTuple):
    """A text that has been read, with its keys and values."""

    cache: DynamicCache
    tokens: int


@dataclass
class TransformersLLM:
    """Reads the distribution over a few answer tokens at given places of a text.

    A prefix is read once and its keys and values serve every query that follows it. Only the
    answers' rows of the output head are multiplied, never the whole vocabulary.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids  # type: ignore[no-any-return]

    @cached_property
    def digits(self) -> list[int]:
        """Token ids of the answers 0 to 9.

        Raises:
            InputError: The tokenizer writes a digit as more than one token, or does not know it.
        """
        ids = [self.encode(str(digit)) for digit in range(10)]
        if any(len(one) != 1 for one in ids) or len({one[0] for one in ids}) < 10:
            raise InputError(
                "This model's tokenizer has no single token for each digit, so digit "
                "distributions cannot be read from it. Use another simulator model."
            )
        return [one[0] for one in ids]

    @torch.inference_mode()
    def read(self, ids: list[int], prefix: Prefix | None = None) -> Prefix:
        """Read a text, after a prefix if one is given, which stays usable."""
        cache = copy.deepcopy(prefix.cache) if prefix else DynamicCache()
        self.model.base_model(
            torch.tensor([ids], device=self.model.device), past_key_values=cache, use_cache=True
        )
        return Prefix(cache, len(ids) + (prefix.tokens if prefix else 0))

    @torch.inference_mode()
    def digit_distributions(
        self, prefix: Prefix, queries: list[Query], *, batch_size: int = 8
    ) -> list[Float[Tensor, "place 10"]]:
        """The probability of each digit at each place of each query.

        The softmax is over exactly the ten digits.
        """
        head = output_head(self.model)[self.digits]
        found: list[Tensor] = []
        for start in range(0, len(queries), batch_size):
            batch = queries[start : start + batch_size]
            width = max(len(query.ids) for query in batch)
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            mask = torch.zeros(len(batch), prefix.tokens + width, dtype=torch.long)
            for row, query in enumerate(batch):
                ids[row, : len(query.ids)] = torch.tensor(query.ids)
                mask[row, : prefix.tokens + len(query.ids)] = 1
            cache = copy.deepcopy(prefix.cache)
            cache.batch_repeat_interleave(len(batch))
            hidden = self.model.base_model(
                ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            for row, query in enumerate(batch):
                logits = hidden[row, query.read_at] @ head.mT
                found.append(logits.float().softmax(-1).cpu())
        return found
