"""Text that people and files bring in, cleaned by one set of rules before it is stored.

A character that cannot be stored or shown is refused, never dropped: without it a filter could
mean more than was asked for. White space around a text is dropped, except where it counts.
"""

import re

MAX_LENGTH = 2000
"""Characters of an explanation or a comment."""

_LINE_END = re.compile(r"\r\n?")
_BREAKS = re.compile(r"[\r\n\t\u2028\u2029]+")
_REFUSED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""PostgreSQL stores no NUL, and UTF-8 has no half of a surrogate pair; browsers show none of the
others."""
_NOT_STORABLE = re.compile(r"[\x00\ud800-\udfff]")


def one_line(text: str, most: int, *, empty: str = "") -> str:
    """A text on one line, trimmed. Line breaks and tabs become spaces.

    Args:
        most: Characters that it may have.
        empty: Error for an empty text. Without it, an empty text passes.

    Raises:
        ValueError: It is empty or too long, or has a character that cannot be stored.
    """
    return _checked(_BREAKS.sub(" ", text).strip(), most, empty)


def lines(text: str, most: int, *, empty: str = "") -> str:
    """A text of one or more lines, trimmed. Line ends become those of Unix. See `one_line`."""
    return _checked(_LINE_END.sub("\n", text).strip(), most, empty)


def exact(text: str, most: int, *, empty: str = "") -> str:
    """A text in which white space counts. Only line ends become those of Unix. See `one_line`."""
    return _checked(_LINE_END.sub("\n", text), most, empty)


def name(text: str, most: int, *, empty: str = "") -> str:
    """A name or a path, trimmed. A line break in it is refused: it would name something else."""
    text = _checked(text.strip(), most, empty)
    if _BREAKS.search(text):
        raise ValueError("Use one line of text, without line breaks and tabs.")
    return text


def explanation(text: str) -> str:
    """An explanation as it is stored, whoever wrote it. See `one_line`."""
    return one_line(text, MAX_LENGTH, empty="Write what makes this latent fire; the text is empty.")


def comment(text: str) -> str:
    """A comment as it is stored. See `lines`."""
    return lines(text, MAX_LENGTH, empty="Write a comment; the text is empty.")


def sought(text: str) -> str:
    """A text to search for, as it is.

    Raises:
        ValueError: It has a character that cannot be stored, so nothing could be found by it.
    """
    return _checked(text, len(text), "")


def storable(text: str) -> str:
    """A text that a program wrote, as PostgreSQL can store it: U+FFFD for what it cannot."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shown(text: str, most: int = 100) -> str:
    """A text for a message, whatever is in it: cut, and without what cannot be printed."""
    kept = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return kept + ("…" if len(text) > most else "")


def _checked(text: str, most: int, empty: str) -> str:
    if empty and not text.strip():
        raise ValueError(empty)
    if len(text) > most:
        raise ValueError(f"Use at most {most:,} characters; this has {len(text):,}.")
    if refused := _REFUSED.search(text):
        raise ValueError(HALF if "\ud800" <= refused[0] <= "\udfff" else CONTROL)
    return text


CONTROL = "Take out the control characters, such as NUL or escape."
HALF = "Take out the half characters (lone surrogates), such as \\ud83d."
