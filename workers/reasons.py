"""Why a job ended, or has to wait: errors in the words of the person who reads them."""

from sqlalchemy.exc import DBAPIError

from interp.errors import InputError, causes_of
from models.failures import is_disk_full

NO_MEMORY = (
    "ran out of memory. Close what else uses it, or choose a smaller model or fewer contexts; "
    "then retry."
)
NO_DISK = "The disk is full. Free some space, then retry."
TOO_SLOW = (
    "PostgreSQL cancelled a statement of this job: it took longer than statement_timeout allows, "
    "or somebody cancelled it. Raise statement_timeout for the workers, then retry."
)
PASSING = ("08", "40", "57P")
"""Classes of PostgreSQL's errors that pass: the connection failed, a deadlock was broken, the
server was stopped or starts."""


def in_words(error: BaseException, reference: str) -> str:
    """One sentence or two that say why a job failed and what to do.

    Args:
        reference: Stands beside the stack trace in the worker's log. The sentence names it where
            the error is one that nobody foresaw.
    """
    if isinstance(error, InputError):
        return str(error)
    for cause in causes_of(error):
        text = str(cause)
        match cause:
            case MemoryError():
                return f"The worker {NO_MEMORY}"
            # torch's, by its name, as to import torch takes seconds.
            case RuntimeError() if type(cause).__name__ == "OutOfMemoryError":
                return f"The GPU {NO_MEMORY}"
            case RuntimeError() if "can't allocate memory" in text or "not enough memory" in text:
                return f"The worker {NO_MEMORY}"
            case OSError() if is_disk_full(cause):
                return NO_DISK
            case DBAPIError() if _state(cause) == "53100":
                return NO_DISK
            case DBAPIError() if _state(cause) == "53200":
                return f"PostgreSQL {NO_MEMORY}"
            case DBAPIError() if _state(cause) == "57014":
                return TOO_SLOW
        if "No space left on device" in text:  # libraries that wrap the system's error
            return NO_DISK
    return (
        "The worker failed unexpectedly. Its log says why, beside the reference "
        f"{reference}. Retry goes on where it stopped."
    )


def passes(error: BaseException) -> bool:
    """True if an error says nothing about the job: the database was away, or broke a deadlock."""
    if isinstance(error, InputError):
        return False
    return any(isinstance(cause, DBAPIError) and _passing(cause) for cause in causes_of(error))


def _passing(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    state = _state(error)
    if state is None:  # no answer of the server's: it could not be reached
        return type(error).__name__ in ("OperationalError", "InterfaceError")
    return state.startswith(PASSING) or state == "53300"  # too many connections


def _state(error: DBAPIError) -> str | None:
    """The code (SQLSTATE) with which PostgreSQL refused a statement."""
    return getattr(error.orig, "sqlstate", None)
