"""Take the answer out of what a language model wrote.

Reasoning models write their reasoning before the answer, each family between markers of its own.
Some servers take the reasoning away, others leave it in the text. A reply whose reasoning does not
end has no answer.
"""

import re
from typing import NamedTuple

from interp.cleaning import storable
from interp.llm.llm import Completion

REASONING_TOKENS = 4_096
"""How many tokens a reasoning model may write more than the answer may have."""

NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
PAIRS = {f"<{name}>": f"</{name}>" for name in NAMES} | {
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
}
"""What begins and what ends a reasoning."""
HARMONY = ("<|start|>", "<|channel|>", "<|message|>")
"""What lays out the channels of gpt-oss."""
MARKERS = frozenset({*PAIRS, *PAIRS.values(), "<|channel>", *HARMONY})
"""Tokens that must not be taken out of a reply before the answer is."""
WRAPPERS = ("answer", "final_answer", "response", "output", "solution", "explanation", "sentence")

# A marker in quotation marks is what the text is about.
_MARK = re.compile(
    r"(?<![“\"'‘`«])(?:" + "|".join(map(re.escape, [*PAIRS, *PAIRS.values()])) + ")", re.I
)
_CLOSING = {begin.lower(): end.lower() for begin, end in PAIRS.items()}
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
# The same channels, where a server has taken the special tokens out.
_BARE_CHANNEL = re.compile(r"analysis(?=[A-Z\s])")
_BARE_FINAL = "assistantfinal"
_SPOKEN = ("here is my thought process:", "here is my response:")
_WRAPPED = re.compile(
    r"<\|begin_of_solution\|>(?P<solution>.*?)(?:<\|end_of_solution\|>)?"
    r"|<\|START_RESPONSE\|>(?P<response>.*?)(?:<\|END_RESPONSE\|>)?"
    r"|<(?P<name>" + "|".join(WRAPPERS) + r")>(?P<text>.*?)</(?P=name)>",
    re.DOTALL | re.I,
)


class Reply(NamedTuple):
    """A language model's reply, taken apart."""

    answer: str
    """Without the reasoning; as it was written otherwise."""
    reasoned: bool
    """Whether there is any reasoning."""
    unfinished: bool
    """Whether the reasoning does not end."""


def part(text: str, *, begun: bool = False) -> Reply:
    """Part the reasoning from the answer.

    Args:
        begun: The prompt ends within a reasoning, which the text goes on with.
    """
    for parted in (_harmony(text), _bare_harmony(text), _spoken(text)):
        if parted is not None:
            return parted._replace(answer=_unwrapped(parted.answer))
    answer: list[str] = []
    reasoning: list[str] = []
    closing = "" if begun else None
    at = 0
    for mark in _MARK.finditer(text):
        found = mark[0].lower()
        if found in _CLOSING:
            line = text[: mark.start()].rpartition("\n")[2]
            if closing is None and not line.strip():
                answer.append(text[at : mark.start()])
                closing, at = _CLOSING[found], mark.end()
        elif closing is None:  # all that stands before it was reasoning
            reasoning += [*answer, text[at : mark.start()]]
            answer, at = [], mark.end()
        elif closing in ("", found):
            reasoning.append(text[at : mark.start()])
            closing, at = None, mark.end()
    (answer if closing is None else reasoning).append(text[at:])
    return Reply(_unwrapped("".join(answer)), bool("".join(reasoning).strip()), closing is not None)


def begins_reasoning(prompt: str) -> bool:
    """True if a prompt ends within a reasoning, as the chat templates of some models have it."""
    return prompt.rstrip().lower().endswith(tuple(_CLOSING))


def completion(
    text: str,
    *,
    cut: bool,
    tokens_read: int,
    tokens_written: int,
    begun: bool = False,
    reasoned: bool = False,
) -> Completion:
    """The answer in a reply, or why there is none.

    Args:
        cut: The reply ended because it was as long as it may be.
        begun: As for :func:`part`.
        reasoned: The model has reasoned elsewhere than in this text.
    """
    reply = part(storable(text), begun=begun)
    if reply.unfinished or (cut and reasoned and not reply.answer):
        failure = f"the reasoning did not end within {tokens_written:,} tokens"
        return Completion(None, failure, tokens_read, tokens_written, cut)
    if (reply.reasoned or reasoned) and not reply.answer.strip():
        failure = "the model reasoned and gave no answer"
        return Completion(None, failure, tokens_read, tokens_written, cut)
    return Completion(reply.answer, "", tokens_read, tokens_written, cut)


def _harmony(text: str) -> Reply | None:
    channels = _CHANNEL.findall(text)
    if not channels:
        # A reply may end before its first message begins.
        return Reply("", True, True) if text.lstrip().startswith("<|channel|>") else None
    final = [body for name, body in channels if name == "final"]
    reasoned = any(body.strip() for name, body in channels if name != "final")
    return Reply(final[-1].strip() if final else "", reasoned, not final)


def _bare_harmony(text: str) -> Reply | None:
    if not _BARE_CHANNEL.match(text):
        return None
    _, found, answer = text.rpartition(_BARE_FINAL)
    if not found and not re.match(r"analysis[A-Z]", text):
        return None  # a sentence that begins with this word
    return Reply(answer.strip() if found else "", True, not found)


def _spoken(text: str) -> Reply | None:
    thought, response = _SPOKEN
    if not text.lstrip().lower().startswith(thought):
        return None
    at = text.lower().find(response)
    return Reply(text[at + len(response) :].strip() if at >= 0 else "", True, at < 0)


def _unwrapped(answer: str) -> str:
    wrapped = _WRAPPED.fullmatch(answer.strip())
    if wrapped is None:
        return answer
    return next(
        body for name in ("solution", "response", "text") if (body := wrapped[name]) is not None
    ).strip()
