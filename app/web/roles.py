"""Which role each route needs, who is asking, and what they may do.

What a route needs is declared in one way. A request that reads needs a reader, any other request an
editor. An endpoint that needs something else says so by :func:`needs`. The guard of all routers,
:func:`app.web.guard.people.permitted`, holds requests to it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, TypeVar

from interp.vocabulary import Role

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
RANK = {role: rank for rank, role in enumerate(Role)}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
By = Literal["machine", "session", "token", "nothing"]
"""How somebody is known: as the one at the machine while accounts are off, by a session, by an API
token, or not at all."""


class Person(NamedTuple):
    """Who asks."""

    name: str
    role: Role
    """What they may do in this request. The scope of a token limits it."""
    by: By = "machine"
    user_id: int = 0
    held: int = 0
    """Number of the session or the token."""


PUBLIC = Person("nobody", Role.READER, "nothing")
"""Whoever has not signed in, where a server is public."""


class Need(NamedTuple):
    """What a route asks of a person."""

    role: Role
    by: tuple[By, ...] = ("machine", "session", "token", "nothing")
    """How the person may be known."""


def needs(role: Role, *by: By) -> Callable[[Endpoint], Endpoint]:
    """Declare what an endpoint needs, where the method does not say it.

    Args:
        by: How the person may be known. Without it, in any way.
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        _declared[endpoint] = Need(role, by) if by else Need(role)
        return endpoint

    return declare


_declared: dict[Callable[..., Any], Need] = {}


def need_of(endpoint: Callable[..., Any], method: str) -> Need:
    """What a route needs: as declared at its endpoint, or as its method says."""
    if endpoint in _declared:
        return _declared[endpoint]
    return Need(Role.READER if method in READING else Role.EDITOR)


def has(person: Person, role: Role) -> bool:
    """True if a person has a role, or one that may do more."""
    return RANK[person.role] >= RANK[role]


asking: ContextVar[Person | None] = ContextVar("asking", default=None)
"""Who asks for what is being answered. Templates and HTML in Python show by it what they may do:
their macros see arguments only, and nearly every one of them would have to take it."""


def may(role: Role) -> bool:
    """True if who is asking has a role: a page shows no button that would be refused."""
    person = asking.get()
    return person is not None and has(person, role)
