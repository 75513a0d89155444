"""Ask a language model for an explanation, and take its answer only if it is one.

An answer is tidied, never completed or corrected. What cannot be an explanation is a failure with
its reason, and is kept so that a person can read it.
"""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from interp.llm.llm import LLM, Completion, Message

MAX_TOKENS = 120
MAX_WORDS = 60
RUN = 7
"""So many words in a row that stand in the prompt are a repetition of it."""

LABEL = re.compile(
    r"^[\s*_#>-]*(?:(?:the )?(?:explanation|answer|sentence)\s*[*_]*:[*_]*\s*)?", re.I
)
QUOTES = {'"': '"', "“": "”", "'": "'", "`": "`", "*": "*"}
REFUSAL = re.compile(
    r"(?:i['’]m |i am )?(?:sorry|unable)\b|i (?:can['’]?t|cannot|can not) |as an ai\b", re.I
)
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SHARED = ENGLISH_STOP_WORDS | {
    *("active", "silent", "strong", "strongly", "weak", "weakly", "latent", "token", "word"),
    *("verb", "noun", "name", "phrase", "kind", "text", "come", "follow"),
}
"""Words that any two explanations may have in common."""


class Explained(NamedTuple):
    """What a language model made of a prompt."""

    text: str | None
    """The explanation; None if there is none."""
    failure: str
    """Why there is none; empty if there is one."""
    answer: str | None
    """The model's answer as it came; None if it gave none."""
    tokens_read: int
    tokens_written: int
    seconds: float
    """The batch's time, shared out evenly."""


def ask(llm: LLM, chats: Sequence[Sequence[Message]]) -> list[Explained]:
    """Have each chat answered with an explanation."""
    started = time.perf_counter()
    completions = llm.complete(chats, max_tokens=MAX_TOKENS)
    seconds = (time.perf_counter() - started) / max(len(chats), 1)
    explained = []
    for chat, completion in zip(chats, completions, strict=True):
        text, failure = read(completion, chat)
        explained.append(
            Explained(
                text,
                failure,
                completion.text,
                completion.tokens_read,
                completion.tokens_written,
                seconds,
            )
        )
    return explained


def read(completion: Completion, chat: Sequence[Message]) -> tuple[str | None, str]:
    """The explanation in an answer to a chat, or None and why there is none.

    Args:
        chat: Instructions and worked examples, then the latent's own examples as the last message.
    """
    if completion.text is None:
        return None, completion.failure
    lines = [line for line in map(clean, completion.text.splitlines()) if line]
    if len(lines) > 1 and lines[0].endswith(":"):  # "Here is the sentence:"
        del lines[0]
    if not lines:
        return None, "the answer is empty"
    text = lines[0]
    failure = (
        _unreadable(text)
        or (
            f"the answer was cut off after {completion.tokens_written} tokens"
            if len(lines) == 1 and completion.tokens_written >= MAX_TOKENS
            else ""
        )
        or repeated(text, chat)
    )
    return (None, failure) if failure else (text, "")


def clean(line: str) -> str:
    """A line without labels, markup and quotation marks around it, white space collapsed."""
    text = " ".join(LABEL.sub("", line, count=1).split())
    while len(text) > 1 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _unreadable(text: str) -> str:
    words = WORD.findall(text.lower())
    if not any(map(str.isalpha, text)) or "\ufffd" in text or not text.isprintable():
        return "the answer is not readable text"
    if len(words) > MAX_WORDS:
        return f"the answer is longer than {MAX_WORDS} words"
    if len(words) > 8 and len(set(words)) < len(words) / 2:
        return "the answer says the same words over and over"
    if "«" in text or "»" in text:
        return "the answer marks tokens as the prompt does"
    if REFUSAL.match(text):
        return "the model declined to answer"
    return ""


def repeated(text: str, chat: Sequence[Message]) -> str:
    """Why a text is an echo of its prompt; empty if it is none.

    It is one if it names what the worked examples' answers are about and the latent's own examples
    do not have, or repeats many words in a row.
    """
    *worked, own = chat
    answers = [message["content"] for message in worked if message["role"] == "assistant"]
    theirs = {_stem(word) for answer in answers for word in WORD.findall(answer.lower())} - SHARED
    theirs -= {_stem(word) for word in WORD.findall(own["content"].lower())}
    words = WORD.findall(text.lower())
    if leaked := [word for word in words if _stem(word) in theirs]:
        return f"the answer repeats a worked example of the prompt (“{leaked[0]}”)"
    for message in chat:
        # Of an explanation that is to be refined as much may stay as is right.
        asked = re.sub(r"^Explanation: .*$", "", message["content"], flags=re.MULTILINE)
        if message["role"] == "user" and _run(words, WORD.findall(asked.lower())):
            return "the answer repeats the prompt"
    return ""


def _stem(word: str) -> str:
    """A word without its plural: enough to tell “hives” from a new word."""
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def _run(words: list[str], within: list[str]) -> bool:
    runs = {tuple(within[i : i + RUN]) for i in range(len(within) - RUN + 1)}
    return any(tuple(words[i : i + RUN]) in runs for i in range(len(words) - RUN + 1))
