"""Text to tokens, the same way for every back end.

A tokenizer does not write a piece of a text as it does within the text, because many put a mark for
a space before their input. So the piece follows a prefix that it cannot merge with, and the tokens
of the prefix are removed again. No piece may become a control token. If it reads like one, it is
tokenized in two parts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError

from interp.corpus.chat import places_of, stand_ins
from interp.errors import InputError, ItemError
from interp.llm.llm import Message, Query
from interp.llm.replies import HARMONY, MARKERS

if TYPE_CHECKING:  # a server's client needs neither
    from transformers import GenerationConfig, PreTrainedTokenizerBase

Encode = Callable[[str], list[int]]
"""Token ids of a text, without those that a tokenizer puts around it."""

ANCHORS = ("\n", "0", ":")
"""What a piece of text is tokenized behind, in the order in which they are tried."""
KNOWN_PIECES = 2**16
"""Pieces whose tokens are kept: the same contexts are asked about again and again."""
CONTROL = re.compile(
    r"<\|[^<>|\s]{1,60}\|>"
    r"|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|think|tool_call|tool_response)>"
    r"|<｜[^<>｜\s]{1,60}｜>"
    r"|\[/?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
)
"""What control tokens look like, where a tokenizer's own are not known."""
NO_THINKING: dict[str, Any] = {
    "enable_thinking": False,
    "thinking": False,
    "reasoning_effort": "low",
}
"""What chat templates take to have a model answer without reasoning, or with little."""


class Places(NamedTuple):
    """A query in tokens."""

    ids: list[int]
    read_at: list[int]
    """Positions in ``ids``: the answer is what the model predicts from each. One a piece."""


class Encoder:
    """Writes pieces of text as tokens in their place."""

    def __init__(self, encode: Encode, control: re.Pattern[str] = CONTROL) -> None:
        """
        Args:
            control: Strings that the tokenizer would take for a control token.
        """
        self._encode, self._control = encode, control
        self.after = lru_cache(KNOWN_PIECES)(self._after)

    def first(self, text: str) -> list[int]:
        """Token ids of a text with nothing before it."""
        head, *rest = self._apart(text)
        return [*self._encode(head), *(i for piece in rest for i in self._behind_any(piece))]

    def _after(self, text: str) -> list[int]:
        """Token ids of a text that follows another one."""
        return [i for piece in self._apart(text) for i in self._behind_any(piece)]

    def parts(self, texts: Sequence[str], *, follow: bool = False) -> list[list[int]]:
        """Token ids of texts of which each follows the one before it.

        Args:
            follow: The first of them follows another text.
        """
        found = []
        for text in texts:
            found.append(self.after(text) if follow else self.first(text))
            follow = follow or bool(text)
        return found

    def places(self, prefix: Sequence[str], query: Query) -> Places:
        """A query that follows a prefix.

        Raises:
            InputError: There is nothing before the first place.
        """
        ids: list[int] = []
        read_at = []
        for piece in self.parts(query.pieces, follow=any(prefix)):
            ids += piece
            read_at.append(len(ids) - 1)
        if read_at and read_at[0] < 0:
            raise InputError("An answer cannot be read after an empty piece of text. Give it some.")
        return Places(ids, read_at)

    def answers(self, queries: Sequence[Query], answers: Sequence[str]) -> list[int]:
        """The token of each answer, as it is written behind the queries.

        Raises:
            InputError: The tokenizer writes an answer as more than one token, or does not know it.
        """
        ending = next((query.pieces[0][-1:] for query in queries if query.pieces), "")
        for before in (ending, *ANCHORS):
            written = [self._behind(before, answer) for answer in answers]
            ids = [one[0] for one in written if one is not None and len(one) == 1]
            if len(set(ids)) == len(answers):
                return ids
            if None not in written:
                break
        raise InputError(
            f"This model's tokenizer has no single token for each of {', '.join(answers)}, so "
            "their probabilities cannot be read from it. Use another model."
        )

    def _apart(self, text: str) -> list[str]:
        """A text in parts that no control token is in."""
        return cut(text, (found.start() + 1 for found in self._control.finditer(text)))

    def _behind_any(self, text: str) -> list[int]:
        found = (self._behind(before, text) for before in ANCHORS)
        return next((ids for ids in found if ids is not None), None) or self._encode(text)

    def _behind(self, before: str, text: str) -> list[int] | None:
        """Token ids of a text right behind another; None if a token would be of both."""
        head, both = self._encode(before), self._encode(before + text)
        apart = both[: len(head)] == head and (len(both) > len(head) or not text)
        return both[len(head) :] if apart else None


def cut(text: str, ends: Iterable[int]) -> list[str]:
    """A text in parts, from its first character to each of some others and to its last."""
    return [text[start:end] for start, end in pairwise([0, *ends, len(text)])]


def encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text, control tokens in it included, without those put around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def encoder(tokenizer: "PreTrainedTokenizerBase") -> Encoder:
    """An encoder that writes text as a tokenizer does, and never as its control tokens."""
    return Encoder(lambda text: encode(tokenizer, text), control(tokenizer))


def control(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """The strings that a tokenizer takes for control tokens."""
    known = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or token.content in MARKERS
    } | set(tokenizer.all_special_tokens)
    longest_first = sorted((one for one in known if len(one) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def beginning(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The beginning-of-sequence token, where the model's texts begin with one."""
    ids: list[int] = tokenizer("").input_ids
    return [i for i in ids if i == tokenizer.bos_token_id]


def chat_ids(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message]) -> list[int]:
    """A chat in tokens, up to where the answer begins. Control tokens come from the template alone.

    Raises:
        InputError: The model is no chat model.
        ItemError: The chat cannot be written by the model's template.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path} has no chat template: it is a base model, which answers no "
            "questions. Use an instruct model."
        )
    try:
        text = _rendered(tokenizer, chat)
    except TemplateError:
        chat = folded(chat)  # some know no system role
        try:
            text = _rendered(tokenizer, chat)
        except TemplateError as error:
            raise ItemError(f"the model's chat template refuses the chat ({error})") from None
    alone = Encoder(lambda text: encode(tokenizer, text), re.compile(r"(?!)"))
    head, *rest = cut(text, _smuggled(tokenizer, text, chat))
    # The template writes the special tokens itself.
    return [*alone.first(head), *(i for piece in rest for i in alone.after(piece))]


def folded(chat: Sequence[Message]) -> list[Message]:
    """A chat with the system's messages at the beginning of the user's next ones."""
    found: list[Message] = []
    system: list[str] = []
    for message in chat:
        if message["role"] == "system":
            system.append(message["content"])
        else:
            content = "\n\n".join([*system, message["content"]])
            found.append({"role": message["role"], "content": content})
            system = []
    return found


def reply_text(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text of a reply, without control tokens but those that set the reasoning apart."""
    added = tokenizer.added_tokens_decoder
    channels = any(added[i].content == "<|channel|>" for i in ids if i in added)
    kept = MARKERS if channels else MARKERS - set(HARMONY)
    special = {i for i, token in added.items() if token.special and token.content not in kept}
    special |= {i for i in tokenizer.all_special_ids if i not in added or added[i].special}
    special -= {i for i, token in added.items() if token.content in kept}
    text = tokenizer.decode([i for i in ids if i not in special], skip_special_tokens=False)
    assert isinstance(text, str)
    return text


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


def _rendered(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message]) -> str:
    messages = [{"role": one["role"], "content": one["content"]} for one in chat]
    text = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **NO_THINKING
    )
    assert isinstance(text, str)
    return text


def _smuggled(
    tokenizer: "PreTrainedTokenizerBase", text: str, chat: Sequence[Message]
) -> list[int]:
    """The places to cut a rendered chat, so that no content has a control token in it.

    Raises:
        ItemError: The template has rewritten such a content.
    """
    names, contents = control(tokenizer), [message["content"] for message in chat]
    if not any(names.search(content) for content in contents):
        return []
    frame = [
        Message(role=message["role"], content=stand_in)
        for message, stand_in in zip(chat, stand_ins(len(chat)), strict=True)
    ]
    # The template writes the same names, so where a content is cannot be found by its text.
    places = places_of(contents, text, _rendered(tokenizer, frame))
    if places is None:
        raise ItemError("a text reads like control tokens of the model's chats")
    return [
        start + found.start() + 1 for start, written in places for found in names.finditer(written)
    ]
