"""Failures of PostgreSQL, Redis and the disk, in sentences."""

import errno
from typing import NamedTuple

from sqlalchemy.exc import DataError, DBAPIError, OperationalError, TimeoutError


class Failure(NamedTuple):
    """Why something was not done."""

    status: int
    """As an HTTP status: 409 if a repetition may do, 422 if the request was at fault, else 503."""
    sentence: str
    """The fault, and the remedy."""


UNREACHABLE = Failure(
    503,
    "The database (PostgreSQL) cannot be reached, so nothing was read or saved. Check that it "
    "runs, then try again.",
)
DISK = Failure(
    503,
    "The disk is full, so nothing was saved. Free some space on it, then try again.",
)
BUSY = Failure(503, "The server has too much to do at the moment. Try again in a few seconds.")
REDIS = Failure(503, "Redis cannot be used. Check that it runs and has memory, then try again.")

_FULL = Failure(
    503,
    "PostgreSQL has no connection left, so nothing was read or saved. Try again in a few seconds; "
    "if that does not help, raise its max_connections.",
)
_STARTS_OR_STOPS = Failure(
    503, "PostgreSQL is starting or stopping, so nothing was read or saved. Try again in a minute."
)
_READS_ONLY = Failure(
    503,
    "PostgreSQL takes no changes: it is read-only, as a standby is. Nothing was saved. Set "
    "DATABASE_URL to a server that may be written to.",
)
_TOO_SLOW = Failure(
    503,
    "PostgreSQL took longer than it may and was stopped, so nothing was saved. Try again, or ask "
    "for less at once.",
)
_CROSSED = Failure(
    409,
    "Somebody else changed the same thing at the same moment, so nothing was saved. Try again.",
)
_REFUSES = Failure(
    503,
    "PostgreSQL refuses the name, the password or the database that DATABASE_URL gives. Mend "
    "DATABASE_URL.",
)
_NO_TABLES = Failure(
    503, "The database has not the tables of this version. Run `palimpsest migrate`."
)
_NOT_STORED = Failure(
    422,
    "The database cannot store a value of this request: a character or a number that is too large. "
    "Nothing was saved.",
)

_BY_STATE = {
    "53100": Failure(
        503,
        "The disk of the database (PostgreSQL) is full, so nothing was saved. Free some space on "
        "it, then try again.",
    ),
    "53200": Failure(503, "PostgreSQL is out of memory, so nothing was saved. Try again."),
    "53300": _FULL,
    "25006": _READS_ONLY,
    "57014": _TOO_SLOW,
    "25P03": _TOO_SLOW,  # a transaction that did nothing for too long
    "25P04": _TOO_SLOW,
    "57P05": _TOO_SLOW,
    "57P01": _STARTS_OR_STOPS,
    "57P02": _STARTS_OR_STOPS,
    "57P03": _STARTS_OR_STOPS,
    "40001": _CROSSED,
    "40P01": _CROSSED,
    "55P03": _CROSSED,
    "28000": _REFUSES,
    "28P01": _REFUSES,
    "3D000": _REFUSES,
    "42P01": _NO_TABLES,
    "42703": _NO_TABLES,
}
"""By PostgreSQL's error code."""

_BY_WORDS = {
    "too many clients": _FULL,
    "too many connections": _FULL,
    "connection slots": _FULL,
    "is starting up": _STARTS_OR_STOPS,
    "is shutting down": _STARTS_OR_STOPS,
    "in recovery mode": _STARTS_OR_STOPS,
    "authentication failed": _REFUSES,
    "no pg_hba.conf entry": _REFUSES,
    "does not exist": _REFUSES,
    "No space left on device": _BY_STATE["53100"],
}
"""By what PostgreSQL says to a connection that it refuses, which comes without a code."""


def database_failure(error: Exception) -> Failure | None:
    """The failure that an error of SQLAlchemy means, or None for a fault of the program."""
    if isinstance(error, TimeoutError):  # no connection of this process came free
        return BUSY
    if not isinstance(error, DBAPIError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    if found := _BY_STATE.get(state or ""):
        return found
    if isinstance(error, DataError):
        return _NOT_STORED
    if isinstance(error, OperationalError):
        said = str(error.orig)
        return next((why for words, why in _BY_WORDS.items() if words in said), UNREACHABLE)
    return None


def is_disk_full(error: BaseException | None) -> bool:
    """True if a file could not be written because the disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
