"""Chats: messages that the model's own chat template writes."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from jinja2 import TemplateError

from interp.errors import InputError, ItemError

if TYPE_CHECKING:  # reading a corpus needs no tokenizer
    from transformers import PreTrainedTokenizerBase

_MARK = "\ue000{}\ue001"
"""Stands for the content of a message, to see where a template puts it. Of the private use area."""
_MARKS = re.compile("\ue000(\\d+)\ue001")


class Turn(NamedTuple):
    """One message of a chat."""

    role: str
    content: str


def is_chat(value: object) -> TypeGuard[list[dict[str, str]]]:
    """True if a row holds a chat: a list of objects with a role and a content that are text."""
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("role"), str)
        and isinstance(one.get("content"), str)
        for one in value
    )


def encode_chat(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Turn]) -> list[int]:
    """A chat in tokens. Control tokens come from the template alone, never from a message.

    White space around a message is left out, as most templates do.

    Raises:
        InputError: The tokenizer has no chat template.
        ItemError: Its template refuses the chat, or rewrites a message.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"The corpus has chats, but the tokenizer of {tokenizer.name_or_path} has no chat "
            "template to write them with. Use an instruct model, or a column of plain text."
        )
    contents = [turn.content.strip() for turn in chat]
    roles = [turn.role for turn in chat]
    text = _rendered(tokenizer, roles, contents)
    frame = _rendered(tokenizer, roles, [_MARK.format(i) for i in range(len(chat))])
    around = _MARKS.split(frame)
    if around[1::2] != [str(i) for i in range(len(chat))] or text != "".join(
        part for pair in zip(around[::2], [*contents, ""], strict=True) for part in pair
    ):
        raise ItemError("the model's chat template rewrites a message")
    names, cuts, at = _control_names(tokenizer), [0], 0
    for before, content in zip(around[::2], contents, strict=False):
        at += len(before)
        cuts += [at + found.start() + 1 for found in names.finditer(content)]
        at += len(content)
    parts = (text[start:end] for start, end in pairwise([*cuts, len(text)]))
    return [i for part in parts for i in _tokenized(tokenizer, part)]


def _rendered(
    tokenizer: "PreTrainedTokenizerBase", roles: Sequence[str], contents: Sequence[str]
) -> str:
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except TemplateError as error:
        raise ItemError(f"the model's chat template refuses the chat ({error})") from None
    assert isinstance(text, str)
    return text


def _control_names(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """The strings that a tokenizer takes for tokens of their own."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    names = sorted(added | {*tokenizer.all_special_tokens}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, filter(None, names))) or r"(?!)")


def _tokenized(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    # The template writes the control tokens itself.
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids
