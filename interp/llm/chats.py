"""Answer chats with a language model that runs in this process, whatever runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from interp.errors import ItemError
from interp.llm import tokens
from interp.llm.llm import Completion, Message
from interp.llm.reading import TOO_LONG
from interp.llm.replies import REASONING_TOKENS, begins_reasoning, completion, part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAIL = 16
"""Tokens at the end of a prompt that may begin a reasoning."""


class Written(NamedTuple):
    """A model's text after a prompt."""

    ids: list[int]
    cut: bool
    """Whether it wrote as much as it may, and did not end."""


Write = Callable[[list[list[int]], list[int], float], list[Written]]
"""From prompts, the most tokens for each and a temperature to what the model writes."""


class _Asked(NamedTuple):
    ids: list[int]
    begun: bool
    """Whether the prompt ends within a reasoning."""
    room: int
    """Tokens that the model may write more if it reasons."""


@dataclass
class Chats:
    """Chats in tokens, and the answers in what is written after them.

    A model is asked to answer without reasoning, as far as its chat template can say so. If it
    reasons all the same, it may write more from then on.
    """

    tokenizer: "PreTrainedTokenizerBase"
    longest: int
    """Tokens that the model reads and writes, at most."""
    reasons: bool = field(default=False, init=False)

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        write: Write,
        max_tokens: int,
        temperature: float,
    ) -> list[Completion]:
        """See :class:`interp.llm.llm.LLM`.

        Raises:
            InputError: The model has no chat template.
        """
        asked = [self._asked(chat, max_tokens) for chat in chats]
        found = [
            one if isinstance(one, Completion) else Completion(None, "", 0, 0) for one in asked
        ]
        left = {i: one for i, one in enumerate(asked) if isinstance(one, _Asked)}
        while left:
            limits = {
                i: max_tokens + (one.room if self.reasons or one.begun else 0)
                for i, one in left.items()
            }
            written = write([one.ids for one in left.values()], list(limits.values()), temperature)
            again = {}
            for (i, one), (ids, cut) in zip(left.items(), written, strict=True):
                text = tokens.reply_text(self.tokenizer, ids)
                if cut and part(text, begun=one.begun).unfinished:
                    self.reasons = True
                    if limits[i] < max_tokens + one.room:
                        again[i] = one
                earlier = found[i]
                found[i] = completion(
                    text,
                    cut=cut,
                    tokens_read=earlier.tokens_read + len(one.ids),
                    tokens_written=earlier.tokens_written + len(ids),
                    begun=one.begun,
                )
            left = again
        return found

    def _asked(self, chat: Sequence[Message], max_tokens: int) -> _Asked | Completion:
        try:
            ids = tokens.chat_ids(self.tokenizer, chat)
        except ItemError as error:
            return Completion(None, str(error), 0, 0)
        room = self.longest - len(ids) - max_tokens
        if room < 0:
            return Completion(None, TOO_LONG, 0, 0)
        tail = self.tokenizer.decode(ids[-TAIL:], skip_special_tokens=False)
        assert isinstance(tail, str)
        return _Asked(ids, begins_reasoning(tail), min(room, REASONING_TOKENS))
