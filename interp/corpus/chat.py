"""Chats: messages that the model's own chat template writes."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np
from jinja2 import TemplateError

from interp.errors import InputError, ItemError

if TYPE_CHECKING:  # reading a corpus needs no tokenizer
    from transformers import PreTrainedTokenizerBase

_STAND_IN = "\ue000{}\ue001"
"""Characters of the private use area, which no template has."""
_STAND_INS = re.compile("\ue000(\\d+)\ue001")


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


class Written(NamedTuple):
    """A chat in tokens."""

    ids: list[int]
    own: list[bool]
    """Whether each token is of a message. The template has written the others."""


def encode_chat(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Turn]) -> Written:
    """A chat in tokens. Control tokens come from the template alone, never from a message.

    White space around a message is left out, as most templates do.

    Raises:
        InputError: The tokenizer has no chat template, or is a slow one, which tells no places.
        ItemError: Its template refuses the chat, or rewrites a message.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"The corpus has chats, but the tokenizer of {tokenizer.name_or_path} has no chat "
            "template to write them with. Use an instruct model, or a column of plain text."
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"The corpus has chats, and the tokenizer of {tokenizer.name_or_path} does not tell "
            "where its tokens are. Use a model with a fast tokenizer (tokenizer.json)."
        )
    contents = [turn.content.strip() for turn in chat]
    roles = [turn.role for turn in chat]
    text = _rendered(tokenizer, roles, contents)
    places = places_of(contents, text, _rendered(tokenizer, roles, stand_ins(len(chat))))
    if places is None:
        raise ItemError("the model's chat template rewrites a message")
    names = _control_names(tokenizer)
    cuts = [
        start + found.start() + 1 for start, written in places for found in names.finditer(written)
    ]
    of_message = np.zeros(len(text) + 1, int)
    for start, written in places:
        of_message[start + 1 : start + 1 + len(written)] = 1
    upto = of_message.cumsum()  # characters of messages before each place
    found = Written([], [])
    for start, end in pairwise([0, *cuts, len(text)]):
        # The template writes the control tokens itself.
        part = tokenizer(
            text[start:end], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        begins, ends = start + np.array(part.offset_mapping, int).reshape(-1, 2).T
        found.ids.extend(part.input_ids)
        found.own.extend((upto[ends] > upto[begins]).tolist())
    return found


def stand_ins(count: int) -> list[str]:
    """Contents to render in the place of others, to see where a template puts them."""
    return [_STAND_IN.format(i) for i in range(count)]


def places_of(contents: Sequence[str], text: str, frame: str) -> list[tuple[int, str]] | None:
    """Where the content of each message begins in a rendered chat, and how it is written there.

    Args:
        text: The rendered chat.
        frame: The same with :func:`stand_ins` for the contents.

    Returns:
        None if the template has written a message in another way, other than to drop white space
        around it.
    """
    before, *parts = _STAND_INS.split(frame)
    numbers, behind = parts[::2], parts[1::2]
    if numbers != [str(i) for i in range(len(contents))] or not text.startswith(before):
        return None
    places: list[tuple[int, str]] = []
    at = len(before)
    for content, after in zip(contents, behind, strict=True):
        for written in (content, content.strip()):
            if text.startswith(written + after, at):
                places.append((at, written))
                at += len(written) + len(after)
                break
        else:
            return None
    return places if at == len(text) else None


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
