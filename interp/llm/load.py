"""Load a language model by the name of its back end, and test that it does what it should."""

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.llm.llm import LLM, Query
from interp.llm.registry import BACK_ENDS, LoadCausalLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WORDS = {"three": 3, "seven": 7}


def load_llm(
    back_end: str,
    model: str,
    *,
    base_url: str | None = None,
    causal_lm: LoadCausalLM | None = None,
) -> LLM:
    """Load a language model.

    Args:
        back_end: Name of one of :data:`interp.llm.registry.BACK_ENDS`.
        model: A folder with a Transformers checkpoint, or a hub name. For a server, its name for
            the model.
        base_url: The server's address, by default ``OPENAI_BASE_URL``.
        causal_lm: Returns models that are loaded already. By default the model is loaded.

    Raises:
        InputError: There is no such model, or its back end is not installed.
    """
    return BACK_ENDS.named(back_end).load(model, base_url, causal_lm or _causal_lm)


def _causal_lm(model: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A model of its own, in the precision that suits the device."""
    import torch

    from interp.model.subject import default_device, load_causal_lm

    device = default_device()
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    return load_causal_lm(model, dtype=dtype, device=device)


def self_test(llm: LLM) -> str:
    """Have a model answer a chat, and read a distribution whose right answer is plain.

    Returns:
        The model's abilities, in words.

    Raises:
        InputError: It can do nothing, or does something wrongly.
    """
    try:
        (completion,) = llm.complete([[{"role": "user", "content": "Say hello."}]], max_tokens=8)
        failure = completion.failure
    except InputError as error:  # a base model, which can be read all the same
        failure = str(error)
    chats = f"answers no chats ({failure})" if failure else "answers chats"
    if llm.reads == "nothing":
        if failure:
            raise InputError(f"{llm.name} {chats}.")
        return (
            f"{llm.name} {chats}, but gives no probabilities: of the simulators only json_reply "
            "can use it"
        )
    digits = [str(digit) for digit in range(10)]
    queries = [Query([f"{word}\t"]) for word in _WORDS]
    pattern = "".join(f"{word}\t{digit}\n" for word, digit in _WORDS.items()) * 4
    right = []
    for answers, (word, digit) in zip(
        llm.distributions([pattern], queries, digits), _WORDS.items(), strict=True
    ):
        (row,), (why,) = answers.probabilities, answers.failures
        if why:
            raise InputError(f"{llm.name} cannot be read: {why}")
        if not np.isclose(row.sum(), 1, atol=1e-3):
            raise InputError(f"{llm.name} gives probabilities that sum to {row.sum():.3f}, not 1.")
        if row.argmax() != digit:
            raise InputError(f"{llm.name} reads {word} as {row.argmax()}, right after {digit}.")
        right.append(row[digit])
    where = "anywhere" if llm.reads == "anywhere" else "at the end of a text"
    return f"{llm.name} {chats} and is read {where} (sure to {min(right):.0%})"
