"""A language model run in this process by vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interp.errors import InputError
from interp.llm import tokens
from interp.llm.chats import Chats, Written
from interp.llm.llm import Answers, Completion, Message, Query
from interp.llm.reading import TOO_LONG, from_logits, missing
from interp.llm.registry import LoadCausalLM

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

GPU_MEMORY = 0.5
"""vLLM's share of the GPU; the rest is for the subject model and the sparse coder."""


def load(model: str, base_url: str | None, causal_lm: LoadCausalLM) -> "VllmLLM":
    """See :class:`interp.llm.registry.Loader`."""
    return load_vllm(model)


def load_vllm(model: str, **options: Any) -> "VllmLLM":
    """Load a model into vLLM.

    Args:
        model: A folder with a Transformers checkpoint, or a hub name.
        options: Engine arguments, as ``vllm.LLM`` takes them.

    Raises:
        InputError: vLLM is not installed, or cannot load the model.
    """
    try:
        from vllm import LLM
    except ImportError as error:
        raise InputError(
            f"vLLM cannot be imported ({error}). Install it with `pip install vllm`, or use "
            "another back end."
        ) from None
    defaults = {"gpu_memory_utilization": GPU_MEMORY, "enable_prefix_caching": True}
    try:
        return VllmLLM(LLM(model=model, **{**defaults, **options}), model)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"vLLM cannot load {model!r}: {reason}") from error


@dataclass
class VllmLLM:
    """Reads distributions at any place of a text, and answers chats.

    vLLM gives the log-probabilities of given tokens after the end of a prompt, so every place is a
    prompt of its own. The prefix that these share, down to the place before, comes out of vLLM's
    prefix cache. (For prompt log-probabilities it passes its cache by, and gives the likeliest
    tokens only.)
    """

    engine: "LLM"
    name: str
    reads: Literal["anywhere"] = field(default="anywhere", init=False)

    def __post_init__(self) -> None:
        self._encoder = tokens.encoder(self.engine.get_tokenizer())
        self._chats = Chats(self.engine.get_tokenizer(), self._longest)

    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        """See :class:`interp.llm.llm.LLM`."""
        from vllm import SamplingParams

        wanted = self._encoder.answers(queries, answers)
        before = tokens.beginning(self.engine.get_tokenizer())
        for part in self._encoder.parts(prefix):
            before += part
        asked = [self._encoder.places(prefix, query) for query in queries]
        fit = [len(before) + len(one.ids) < self._longest for one in asked]
        outputs = iter(
            self._generate(
                [
                    before + one.ids[: end + 1]
                    for one, fits in zip(asked, fit, strict=True)
                    for end in one.read_at
                    if fits
                ],
                SamplingParams(
                    max_tokens=1, temperature=0, logprob_token_ids=wanted, detokenize=False
                ),
            )
        )
        return [
            self._answers([next(outputs) for _ in one.read_at], wanted)
            if fits
            else missing(len(one.read_at), len(wanted), TOO_LONG)
            for one, fits in zip(asked, fit, strict=True)
        ]

    def _answers(self, outputs: list["RequestOutput"], wanted: list[int]) -> Answers:
        logprobs = np.empty((len(outputs), len(wanted)))
        tokens_read = 0
        for row, output in zip(logprobs, outputs, strict=True):
            found = output.outputs[0].logprobs
            assert found is not None and output.prompt_token_ids is not None
            row[:] = [found[0][token].logprob for token in wanted]
            tokens_read += len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
        return from_logits(logprobs, tokens_read)

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
        from vllm import SamplingParams

        outputs = self._generate(
            asked,
            [
                SamplingParams(max_tokens=limit, temperature=temperature, detokenize=False)
                for limit in limits
            ],
        )
        replies = [output.outputs[0] for output in outputs]
        return [Written(list(one.token_ids), one.finish_reason == "length") for one in replies]

    def _generate(
        self, prompts: list[list[int]], sampling: "SamplingParams | list[SamplingParams]"
    ) -> "list[RequestOutput]":
        if not prompts:
            return []
        texts = [{"prompt_token_ids": ids} for ids in prompts]
        outputs: list[RequestOutput] = self.engine.generate(texts, sampling, use_tqdm=False)
        return outputs

    @property
    def _longest(self) -> int:
        return int(self.engine.model_config.max_model_len)
