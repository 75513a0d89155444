"""The exceptions that the engine raises for input it cannot work with."""

import re
from collections.abc import Iterator
from json import JSONDecodeError
from textwrap import shorten

LONGEST = 500
"""Characters of a library's message that are shown: some list all that they support."""


class InputError(ValueError):
    """Something the caller gave is wrong: the message says what, and what to do about it."""


class ItemError(InputError):
    """One item of many is wrong, such as a latent or a chat: the others can be worked with.

    A loop over many items counts this one as missing, with the message as the reason.
    """


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was raised from."""
    seen: set[int] = set()  # exceptions may have been raised from each other in a circle
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """The message of a library's exception, in one line without a full stop.

    PyTorch and Transformers say in their first line that something is wrong, and below it what.
    If JSON cannot be read, it names the line and the column.
    """
    if isinstance(error, JSONDecodeError):
        said = error.msg
    elif isinstance(error, OSError) and error.strerror:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, KeyError) and error.args:
        said = f"{error.args[0]!r} is missing"
    else:
        said = re.sub(r"\s+", " ", str(error)).strip() or "no reason is given"
    said = shorten(said, LONGEST, placeholder=" …").rstrip(".")
    for cause in causes_of(error):
        if isinstance(cause, JSONDecodeError):
            return f"{said} (line {cause.lineno}, column {cause.colno})"
    return said
