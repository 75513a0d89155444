"""Ask a language model for an explanation, and take its answer only if it is one.

An answer is tidied, never completed or corrected. An answer that cannot be an explanation is a
failure with its reason, and is kept so that a person can read it.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from interp.explain.explainer import Asking, LatentRecord
from interp.llm.llm import LLM, Completion, Message

EMPTY = "the answer is empty"
LIST = "the answer is a list, not a sentence"
MAX_TOKENS = 120
MAX_WORDS = 60
RUN = 7
"""So many words in a row that stand in the prompt are a repetition of it."""

WHICH = r"(?:(?:the|my|a|final|new|better|improved|refined|revised|short|one-sentence)\s+)*"
NOUN = r"(?:explanation|answer|sentence|description|summary)"
LABEL = re.compile(rf"^[\s*_#>-]*(?:1[.)]\s+)?(?:{WHICH}{NOUN}\s*[*_]*:[*_]*\s*)?", re.I)
HEADING = re.compile(rf"[\s*_#>=-]*{WHICH}{NOUN}[\s*_:.=-]*", re.I)
"""A line that says no more than what comes after it."""
FENCE = re.compile(r"\s*(?:```|~~~)\s*\w*\s*")
ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s+\S")
INTERJECTION = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great|got it)[,.!:]+\s*",
    re.I,
)
ANNOUNCEMENT = re.compile(
    rf"^(?:here(?:['’]s| is| are)|below is)\b[^:“\"]{{0,80}}?\b{NOUN}\b[^:“\".!]{{0,80}}[:.!]"
    # An explanation may begin so as well: "This is the answer token in dialogues."
    r"|^(?:(?:this|the following) is|i(?:['’](?:ll|ve)| will| have))\b"
    rf"[^:“\".!]{{0,80}}?\b{NOUN}\b[^:“\".!]{{0,80}}:",
    re.I,
)
THINKING_ALOUD = re.compile(
    r"(?:(?:okay|ok|alright|hmm+|well|so|now|first|wait)[,.]?\s+)*"
    r"(?:let['’]?s\b|let (?:me|us)\b|(?:i|we) (?:need|have|must|should|want|am|are|see|can see)\b"
    r"|i['’]m\b|we['’]re\b|looking at\b"
    r"|the user\b.{0,20}\b(?:wants?|asks?|asked|provided|gave|is asking)\b"
    r"|(?:thinking|thought|reasoning|analysis)(?: process)?\s*:)",
    re.I,
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
    """A language model's answer to a prompt."""

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


def explain(explainer: Asking, latent: LatentRecord, llm: LLM) -> Iterator[Explained]:
    """Ask once about a latent."""
    assert explainer.prompt is not None
    yield from ask(llm, [explainer.prompt(latent)])


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
    if (answer := _field(completion.text)) is None:
        return None, "the answer is JSON without an explanation"
    written = [line for line in answer.splitlines() if line.strip() and not FENCE.fullmatch(line)]
    lines = [line for line in written if not HEADING.fullmatch(line)]
    if not lines:
        return None, "the answer announces an explanation and gives none" if written else EMPTY
    said = INTERJECTION.sub("", clean(lines[0]), count=1)
    said = clean(ANNOUNCEMENT.sub("", said, count=1))
    if len(lines) > 1 and (not said or said.endswith(":")):  # "Here is the sentence:"
        del lines[0]
        if said and ITEM.match(lines[0]):
            return None, LIST
        said = clean(lines[0])
    if not said:
        announced = any(character.isalnum() for character in lines[0])
        return None, "the answer announces an explanation and gives none" if announced else EMPTY
    if ITEM.match(lines[0]) and any(map(ITEM.match, lines[1:])):
        return None, LIST
    failure = (
        _unreadable(said)
        or (
            f"the answer was cut off after {completion.tokens_written:,} tokens"
            if completion.cut and len(lines) == 1
            else ""
        )
        or repeated(said, chat)
    )
    return (None, failure) if failure else (said, "")


def _field(answer: str) -> str | None:
    """The explanation in an answer that is a JSON object; None if it has none. Any other answer as
    it is."""
    bare = "\n".join(line for line in answer.splitlines() if not FENCE.fullmatch(line)).strip()
    if not bare.startswith(("{", "[")):
        return answer
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return answer
    if isinstance(found, list) and len(found) == 1:
        (found,) = found
    if isinstance(found, str):
        return found
    if not isinstance(found, dict):
        return None
    texts = {name.lower(): text for name, text in found.items() if isinstance(text, str)}
    named = [text for name, text in texts.items() if re.search(NOUN, name)]
    return next(iter(named or (list(texts.values()) if len(texts) == 1 else [])), None)


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
    if THINKING_ALOUD.match(text):
        return "the answer thinks aloud"
    return ""


def repeated(text: str, chat: Sequence[Message]) -> str:
    """The reason why a text is an echo of its prompt. Empty if it is none.

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
