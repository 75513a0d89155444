"""Text to tokens, the same way for every back end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from interp.errors import InputError
from interp.llm.llm import Message, Query

if TYPE_CHECKING:  # a server's client needs neither
    from transformers import GenerationConfig, PreTrainedTokenizerBase

Encode = Callable[[str], list[int]]
"""Token ids of a text, without special tokens."""


class Places(NamedTuple):
    """A query in tokens."""

    ids: list[int]
    read_at: list[int]
    """Positions in ``ids``: the answer is what the model predicts from each. One a piece."""


def encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text, without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def beginning(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The beginning-of-sequence token, where the model's texts begin with one."""
    ids: list[int] = tokenizer("").input_ids
    return [i for i in ids if i == tokenizer.bos_token_id]


def places(encode: Encode, query: Query) -> Places:
    """Tokenize the pieces of a query, each on its own.

    Raises:
        InputError: There is nothing before the first place.
    """
    ids: list[int] = []
    read_at = []
    for piece in query.pieces:
        ids += encode(piece)
        read_at.append(len(ids) - 1)
    if read_at and read_at[0] < 0:
        raise InputError("An answer cannot be read after an empty piece of text. Give it some.")
    return Places(ids, read_at)


def answer_ids(encode: Encode, answers: Sequence[str]) -> list[int]:
    """The token of each answer.

    Raises:
        InputError: The tokenizer writes an answer as more than one token, or does not know it.
    """
    ids = [encode(answer) for answer in answers]
    if any(len(one) != 1 for one in ids) or len({one[0] for one in ids}) < len(ids):
        raise InputError(
            f"This model's tokenizer has no single token for each of {', '.join(answers)}, so "
            "their probabilities cannot be read from it. Use another model."
        )
    return [one[0] for one in ids]


def chat_ids(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message]) -> list[int]:
    """A chat in tokens, up to where the answer begins.

    Raises:
        InputError: The model is no chat model.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path} has no chat template: it is a base model, which answers no "
            "questions. Use an instruct model."
        )
    messages = [{"role": one["role"], "content": one["content"]} for one in chat]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return encode(tokenizer, text)  # the template writes the special tokens itself


def ends(tokenizer: "PreTrainedTokenizerBase", config: "GenerationConfig | None") -> list[int]:
    """The tokens that end an answer.

    Raises:
        InputError: There is none.
    """
    known = getattr(config, "eos_token_id", None)
    found = [*(known if isinstance(known, list) else [known]), tokenizer.eos_token_id]
    if not (ids := [i for i in dict.fromkeys(found) if i is not None]):
        raise InputError(f"{tokenizer.name_or_path} has no token that ends a text.")
    return ids
