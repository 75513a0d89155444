"""Read a reply to a chat in the form of OpenAI's protocol."""

from typing import Any, NamedTuple

from interp.cleaning import storable
from interp.llm.llm import Completion
from interp.llm.replies import completion, part

REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Where servers put the reasoning that they take out of the text."""


class Said(NamedTuple):
    """A server's reply to a chat."""

    completion: Completion
    reasoned: bool
    """Whether the model has reasoned, whatever came of it."""
    hidden: bool
    """Whether the server took all that the model wrote for reasoning, although it ended."""
    cut: bool
    tokens_read: int
    tokens_written: int

    @classmethod
    def of(cls, reply: Any) -> "Said":
        """
        Raises:
            AttributeError, LookupError, TypeError, ValueError: It is none in this form.
        """
        choice = reply["choices"][0]
        message, ending = choice["message"], choice.get("finish_reason")
        usage = reply.get("usage") or {}
        read, written = tokens_read(reply), int(usage.get("completion_tokens") or 0)
        cut = ending in ("length", "max_tokens")
        failure = _failure(message, ending)
        text, apart = ("", False) if failure else _content(message["content"])
        apart = apart or _reasoned(message, usage)
        if not failure and text is None and not apart and not cut:
            failure = "The reply has no text."
        found = (
            Completion(None, failure, read, written, cut)
            if failure
            # A reply that ended before any text began was reasoning that is not shown.
            else completion(
                text or "",
                cut=cut,
                tokens_read=read,
                tokens_written=written,
                reasoned=apart or text is None,
            )
        )
        within = part(text or "")
        reasoned = apart or within.reasoned or within.unfinished or (cut and not text)
        return cls(found, reasoned, apart and not text and not cut, cut, read, written)


def tokens_read(reply: Any) -> int:
    """Tokens of the prompt, less those that the server says it had kept."""
    usage = reply.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return int(usage.get("prompt_tokens") or 0) - int(details.get("cached_tokens") or 0)


def tells_what_it_kept(reply: Any) -> bool:
    """True if a server says how many tokens of the prompt it had kept."""
    return bool((reply.get("usage") or {}).get("prompt_tokens_details"))


def _failure(message: Any, ending: Any) -> str:
    """Why there is no answer, if the server says so."""
    if ending == "content_filter":
        return "The server's content filter stopped the reply."
    if refusal := message.get("refusal"):
        return storable(f"The model declined to answer: {' '.join(str(refusal).split())[:200]}")
    if message.get("tool_calls") and not message.get("content"):
        return "The model called a tool instead of answering."
    return ""


def _content(content: Any) -> tuple[str | None, bool]:
    """The text of a message, and whether there are parts with reasoning beside it."""
    if content is None or isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        raise TypeError("neither text nor parts")
    texts = [one["text"] for one in content if one["type"] in ("text", "output_text")]
    reasoned = any(one["type"] in ("thinking", "reasoning") for one in content)
    return "".join(texts) if texts else None, reasoned


def _reasoned(message: Any, usage: Any) -> bool:
    apart = [message.get(name) for name in REASONING]
    details = usage.get("completion_tokens_details") or {}
    return any(one.strip() if isinstance(one, str) else one for one in apart) or bool(
        details.get("reasoning_tokens")
    )
