"""The parameters that a server accepts, learned from its refusals and replies.

Servers that speak OpenAI's protocol differ in the names and values that they take. A server says
what it does not take, so it is asked as most are, and again as it wants to be asked.
"""

import json
import re
from typing import Any, NamedTuple

import openai

from interp.cleaning import storable
from interp.llm.replies import REASONING_TOKENS
from interp.llm.tokens import NO_THINKING, folded

SWITCHES: dict[str, Any] = {"chat_template_kwargs": NO_THINKING, "reasoning_effort": "low"}
"""What has a model answer without reasoning, or with little: on vLLM, SGLang and llama.cpp; on
OpenAI and those that follow it."""
OPTIONAL = ("temperature", *SWITCHES)
"""What may be left out of a request: the answer is one all the same."""
_OUT_OF_ROOM = re.compile(r"model output limit was reached|higher max_tokens", re.I)
_SYSTEM = re.compile(
    r"\bsystem\b.{0,40}\b(?:role|message|not supported)|role.{0,40}\bsystem\b", re.I
)


class Manner(NamedTuple):
    """The known facts about a server and its model."""

    limit: str = "max_tokens"
    """What the server calls the most tokens of a reply."""
    left_out: frozenset[str] = frozenset()
    """Which optional parts of a request it does not take."""
    folded: bool = False
    """Whether it takes no messages of the system."""
    reasons: bool | None = None
    """Whether the model reasons before it answers. None: not known yet."""

    def limits(self, max_tokens: int) -> int:
        """The most tokens of a reply whose answer may have so many."""
        return max_tokens + (REASONING_TOKENS if self.reasons else 0)

    def spelled(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request as the server wants it.

        Args:
            body: The request as most servers take it.
        """
        sent = dict(body)
        if self.reasons and "messages" in sent:
            sent |= SWITCHES
        if "max_tokens" in sent:
            sent[self.limit] = sent.pop("max_tokens")
        if self.folded and "messages" in sent:
            sent["messages"] = folded(sent["messages"])
        return {name: value for name, value in sent.items() if name not in self.left_out}

    def after(self, refusal: openai.APIStatusError, sent: dict[str, Any]) -> "Manner":
        """The facts that a refused request teaches, or the same if it teaches nothing."""
        named, said = _named(refusal), message(refusal)
        if "max_tokens" in sent and "max_completion_tokens" in said:
            return self._replace(limit="max_completion_tokens")
        if any(one["role"] == "system" for one in sent.get("messages", ())) and (
            named.startswith("messages") or _SYSTEM.search(said)
        ):
            return self._replace(folded=True)
        for name in OPTIONAL:
            if name in sent and (named == name or (not named and re.search(rf"\b{name}\b", said))):
                return self._replace(left_out=self.left_out | {name})
        return self


def out_of_room(refusal: openai.APIStatusError) -> bool:
    """True if a server refuses a chat because its model reasoned as long as it might write."""
    return _OUT_OF_ROOM.search(message(refusal)) is not None


def message(refusal: openai.APIStatusError) -> str:
    """A server's message about a request that it refuses."""
    body = refusal.body
    if isinstance(body, list) and body:  # Google's
        body = body[0]
    if isinstance(body, str) and body.strip():
        return storable(body)
    if isinstance(body, dict):
        inner = body.get("error")
        body = inner if isinstance(inner, dict) else body
        said = body.get("message") or inner or body.get("detail")
        if said:
            return storable(said) if isinstance(said, str) else json.dumps(said)
    return f"error {refusal.status_code}"


def _named(refusal: openai.APIStatusError) -> str:
    """The part of the request that a refusal is about, if it says which."""
    body = refusal.body
    named = body.get("param") if isinstance(body, dict) else None
    return named if isinstance(named, str) else ""
