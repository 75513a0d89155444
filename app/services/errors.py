"""Errors in a request, each with one sentence that says what to do.

They know no framework: `app/web/errors.py` maps them to HTTP, `cli/failures.py` to exit codes.
"""

from interp.errors import InputError


class Refused(Exception):
    """It was not done. The message says why, and what to do."""


class NotFound(Refused):
    """There is no such thing. The message says what there is instead."""


class NoStudy(NotFound):
    """There is no such study."""


class Conflict(Refused):
    """The thing is in a state in which this cannot be done."""


class Forbidden(Refused):
    """This person may not do this."""


class FieldErrors(InputError):
    """Fields of a form that are well-formed, and yet cannot work: by name, what is wrong."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {text}" for field, text in errors.items()))
        self.errors = errors
