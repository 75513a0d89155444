"""A language model run in this process by Transformers."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from interp.llm import tokens
from interp.llm.chats import Chats, Written
from interp.llm.llm import Answers, Completion, Message, Query
from interp.llm.reading import TOO_LONG, from_logits, missing
from interp.llm.registry import LoadCausalLM
from interp.llm.tokens import Places
from interp.model.subject import output_head

KEPT_PREFIXES = 8
"""Instructions and explanations whose keys and values are kept."""
BATCH_TOKENS = {"cpu": 4_000, "cuda": 32_000}
"""Tokens of a batch, the prefix counted in every row: this bounds the memory."""


class Prefix(NamedTuple):
    """A text that has been read, with its keys and values."""

    cache: DynamicCache
    tokens: int


def load(model: str, base_url: str | None, causal_lm: LoadCausalLM) -> "TransformersLLM":
    """See :class:`interp.llm.registry.Loader`."""
    return TransformersLLM(*causal_lm(model))


@dataclass
class TransformersLLM:
    """Reads distributions at any place of a text in one forward pass, and answers chats.

    A prefix is read once, part by part, and its keys and values serve every query that follows
    it. Only the answers' rows of the output head are multiplied, never the whole vocabulary.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reads: Literal["anywhere"] = field(default="anywhere", init=False)
    _kept: OrderedDict[tuple[str, ...], Prefix] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self._encoder = tokens.encoder(self.tokenizer)
        self._chats = Chats(self.tokenizer, self._longest)

    @property
    def name(self) -> str:
        return str(self.model.name_or_path)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return self._encoder.first(text)

    @torch.inference_mode()
    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        """See :class:`interp.llm.llm.LLM`. A prefix that is read counts for the first query."""
        wanted = self._encoder.answers(queries, answers)
        asked = [self._encoder.places(prefix, query) for query in queries]
        found = [missing(len(one.read_at), len(wanted), TOO_LONG) for one in asked]
        parts = [tokens.beginning(self.tokenizer), *self._encoder.parts(prefix)]
        before = sum(map(len, parts))
        fit = [i for i, one in enumerate(asked) if before + len(one.ids) <= self._longest]
        if not fit:
            return found
        read, newly_read = self._read(tuple(prefix), parts)
        # Rows of about the same length go together, so that little is padded.
        fit.sort(key=lambda i: len(asked[i].ids))
        with _answering(self.model, wanted):
            for batch in self._batches(fit, [before + len(one.ids) for one in asked]):
                logits = self._logits(read, [asked[i] for i in batch])
                for i, row in zip(batch, logits, strict=True):
                    found[i] = from_logits(row.float().cpu().numpy(), len(asked[i].ids))
        found[fit[0]] = found[fit[0]]._replace(tokens_read=found[fit[0]].tokens_read + newly_read)
        return found

    def _read(self, prefix: tuple[str, ...], parts: list[list[int]]) -> tuple[Prefix, int]:
        """The prefix, and how many of its tokens had to be read for it.

        Args:
            parts: The beginning of a sequence, then the tokens of each part of the prefix.
        """
        read, newly_read = Prefix(DynamicCache(), 0), 0
        for n, ids in enumerate(parts):
            head = prefix[:n]
            if head not in self._kept:
                self._kept[head] = self._extended(read, ids) if ids else read
                newly_read += len(ids)
            self._kept.move_to_end(head)
            read = self._kept[head]
        while len(self._kept) > KEPT_PREFIXES:
            self._kept.popitem(last=False)
        return read, newly_read

    def _extended(self, prefix: Prefix, ids: list[int]) -> Prefix:
        cache = _repeated(prefix.cache, 1)
        self.model.base_model(
            torch.tensor([ids], device=self.model.device), past_key_values=cache, use_cache=True
        )
        return Prefix(cache, prefix.tokens + len(ids))

    def _logits(self, prefix: Prefix, batch: list[Places]) -> list[Float[Tensor, "place answer"]]:
        width = max(len(one.ids) for one in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), prefix.tokens + width, dtype=torch.long)
        for row, one in enumerate(batch):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            mask[row, : prefix.tokens + len(one.ids)] = 1
        logits: Tensor = self.model(
            ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            past_key_values=_repeated(prefix.cache, len(batch)),
            use_cache=True,
        ).logits
        return [logits[row, one.read_at] for row, one in enumerate(batch)]

    @torch.inference_mode()
    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        """See :class:`interp.llm.llm.LLM`.

        Raises:
            InputError: The model has no chat template.
        """
        return self._chats.complete(chats, self._write, max_tokens, temperature)

    def _write(
        self, asked: list[list[int]], limits: list[int], temperature: float
    ) -> list[Written]:
        found = [Written([], False)] * len(asked)
        order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
        for batch in self._batches(order, [len(a) + n for a, n in zip(asked, limits, strict=True)]):
            rows = self._written([asked[i] for i in batch], [limits[i] for i in batch], temperature)
            for i, row in zip(batch, rows, strict=True):
                found[i] = row
        return found

    def _written(
        self, asked: list[list[int]], limits: list[int], temperature: float
    ) -> list[Written]:
        """The model's text after each, up to the token that ends it."""
        ends = tokens.ends(self.tokenizer, self.model.generation_config)
        width = max(map(len, asked))
        padding = [width - len(ids) for ids in asked]
        rows = [[ends[0]] * pad + ids for pad, ids in zip(padding, asked, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in padding]
        sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        generate: Any = self.model.generate  # its type is lost on the way through torch
        written = generate(
            torch.tensor(rows, device=self.model.device),
            attention_mask=torch.tensor(mask, device=self.model.device),
            generation_config=GenerationConfig(
                max_new_tokens=max(limits),
                do_sample=temperature > 0,
                eos_token_id=ends,
                pad_token_id=ends[0],
                **sampling,
            ),
        )
        return [
            _until(row[:limit], ends)
            for row, limit in zip(written[:, width:].tolist(), limits, strict=True)
        ]

    @property
    def _longest(self) -> int:
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31)

    def _batches(self, order: list[int], lengths: list[int]) -> Iterator[list[int]]:
        """Cut queries, shortest first, into batches."""
        most = BATCH_TOKENS.get(self.model.device.type, BATCH_TOKENS["cpu"])
        batch: list[int] = []
        for i in order:
            if batch and (len(batch) + 1) * lengths[i] > most:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch


def _until(ids: list[int], ends: list[int]) -> Written:
    length = next((n + 1 for n, i in enumerate(ids) if i in ends), None)
    return Written(ids[:length], cut=length is None)


@contextmanager
def _answering(model: PreTrainedModel, answers: list[int]) -> Iterator[None]:
    """Within the block, the model's logits are those of the answers only.

    Its own forward pass makes them, so what it does with logits (cap or scale them) is done.
    """
    weight, whole = output_head(model), model.get_output_embeddings()
    few = nn.utils.skip_init(nn.Linear, weight.shape[1], len(answers), bias=whole.bias is not None)
    few.weight = nn.Parameter(weight[answers], requires_grad=False)
    if whole.bias is not None:
        few.bias = nn.Parameter(whole.bias[answers], requires_grad=False)
    model.set_output_embeddings(few)
    try:
        yield
    finally:
        model.set_output_embeddings(whole)


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache for several rows that all follow the same text. The given one stays as it is.

    The rows share what it holds: what is added to a layer goes into new tensors.
    """
    repeated = copy.copy(cache)
    repeated.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in repeated.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None
        assert layer.values is not None
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return repeated
