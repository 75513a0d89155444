"""Simulate a latent by asking for its activations in JSON.

Only for services that give no log-probabilities, for three reasons. Every token is written again, a
digit says less than a distribution, and small models lose their place in the text.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.llm.llm import LLM, Message
from interp.llm.usage import Tokens
from interp.simulate.method import Prompted, PromptedOptions, prompted_usage
from interp.simulate.prompted.prompts import reasons, template
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.reads import Reading

VERSION = "json_reply-1"
"""Version of the prompt; stored with every simulator that uses it."""
TOKENS_WRITTEN = 12
"""Most tokens that the answer for one token of the text may take, on average."""
PROMPT, SHOWN, WRITTEN = 290, 2.9, 6.0
"""Tokens of the prompt; to show a token of the text in it; to write it with its digit."""
BEGINNINGS = re.compile(r"\[(?=\s*\[\s*\")"), re.compile(r"\[")
"""Where the list begins: at the first bracket that an entry follows, or else at the first one."""


@dataclass
class JsonReply:
    """The prompted simulator for services that give text only."""

    llm: LLM
    version: str = field(default=VERSION, init=False)

    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """See :class:`interp.simulate.protocol.Simulator`."""
        return (self._simulated(ask, contexts, first_position) for ask in asks)

    def _simulated(
        self, ask: Ask, contexts: Sequence[Sequence[str]], first_position: int
    ) -> Simulated:
        started = time.perf_counter()
        texts = [list(tokens[first_position:]) for tokens in contexts]
        completions = self.llm.complete(
            [[message(ask, text)] for text in texts],
            max_tokens=TOKENS_WRITTEN * max(map(len, texts)),
        )
        values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
        failures: list[str] = []
        for row, text, completion in zip(values, texts, completions, strict=True):
            if completion.text is None:
                failures += [completion.failure] * len(text)
            else:
                row[first_position:], failed = read_reply(completion.text, text, cut=completion.cut)
                failures += failed
        return Simulated(
            values,
            reasons(failures),
            sum(completion.tokens_read for completion in completions),
            sum(completion.tokens_written for completion in completions),
            time.perf_counter() - started,
        )


def message(ask: Ask, text: Sequence[str]) -> Message:
    """The question to the model."""
    tokens = json.dumps(list(text), ensure_ascii=False)
    prompt = template(VERSION).format(explanation=ask.explanation, tokens=tokens)
    return {"role": "user", "content": prompt}


def read_reply(
    reply: str, tokens: Sequence[str], *, cut: bool = False
) -> tuple[NDArray[np.float32], list[str]]:
    """The values in a reply, and why those that are missing are missing.

    Entries are read from the first on, for as long as each is about the token that it should be
    about. From the first one that is not, the reply has lost its place, and nothing more is read.

    Args:
        cut: The reply ended because it was as long as it may be.

    Returns:
        The values, shape (token,), NaN where missing; a reason a token, empty where it is not.
    """
    values = np.full(len(tokens), np.nan, np.float32)
    begin = next(filter(None, (pattern.search(reply) for pattern in BEGINNINGS)), None)
    if begin is None:
        return values, ["The reply is no JSON list."] * len(tokens)
    entries, ended = _entries(reply, begin.end(), len(tokens))
    if ended:
        failure = "The reply ends before the text does."
    elif cut:
        failure = "The reply was cut off before this token."
    else:
        failure = "The reply is no JSON list" + (" from this token on." if entries else ".")
    failures = [failure] * len(tokens)
    for i, (entry, token) in enumerate(zip(entries, tokens, strict=False)):
        if not (isinstance(entry, list) and len(entry) == 2 and entry[0] == token):
            failures[i:] = ["The reply loses its place in the text."] * (len(tokens) - i)
            break
        if type(entry[1]) in (int, float) and 0 <= entry[1] <= TOP:
            values[i], failures[i] = entry[1], ""
        else:
            failures[i] = "The reply gives no number from 0 to 9."
    return values, failures


def _entries(reply: str, at: int, most: int) -> tuple[list[Any], bool]:
    """The entries of a list that begins at a place, and whether it ends behind them."""
    decoder = json.JSONDecoder()
    entries: list[Any] = []
    while len(entries) < most:
        at = _skipped(reply, at)
        if reply[at : at + 1] == "]":
            return entries, True
        if entries:
            if reply[at : at + 1] != ",":
                break
            at = _skipped(reply, at + 1)
        try:
            entry, at = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            break
        entries.append(entry)
    return entries, False


def _skipped(text: str, at: int) -> int:
    """The next place that is not white space."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def load(llm: LLM, options: PromptedOptions) -> JsonReply:
    """The simulator on a language model."""
    return JsonReply(llm)


def _usage(asked: float, *, contexts: int, seq: int) -> Tokens:
    read = contexts * (PROMPT + asked + SHOWN * seq)
    return Tokens(round(read), round(WRITTEN * contexts * seq))


def _reads(version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    before = template(version).partition("{explanation}")[0].format()
    after = message(ask, tokens)["content"][len(before) + len(ask.explanation) :]
    return Reading(before, ask.explanation, after, "It answers with one number a token, as text.")


JSON_REPLY = Prompted(
    name="json_reply",
    meaning="asks for the activations as JSON, where a service gives no probabilities",
    version=lambda _: VERSION,
    usage=prompted_usage(_usage),
    reads=_reads,
    loader=f"{__name__}:load",
)
