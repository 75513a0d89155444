"""Who is asking, and whether they may.

A browser has a session in a cookie, a program an API token. Both are looked up in the database for
each request: so a sign-out, a new role or a removed person holds from the next one.
"""

import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.services.errors import NotFound
from app.services.people import sessions, tokens
from app.services.people.sessions import SignedIn
from app.web.database import session_of
from app.web.places import Busy
from app.web.roles import PUBLIC, Need, Person, asking, has, need_of
from interp.vocabulary import Role, TokenScope
from models.settings import get_settings

log = logging.getLogger(__name__)

COOKIE = "palimpsest"
SECURE_COOKIE = "__Host-palimpsest"
"""Over TLS. With this prefix, browsers take it from this very host alone, and only over TLS."""
LONGEST_TOKEN = 200
"""Characters. No token of ours has more."""


async def current_person(request: Request) -> Person:
    """Who is asking. They are looked up once for a request.

    Raises:
        HTTPException: 401 when accounts are on and they are not known.
    """
    settings = get_settings()
    if not settings.accounts:
        return Person(settings.user, Role.ADMIN)
    if not hasattr(request.state, "person"):
        request.state.person = await _known(request)
    person: Person = request.state.person
    return person


_BEARER = HTTPBearer(auto_error=False, description="An API token, while accounts are on.")
"""For the description of the API."""


async def permitted(
    request: Request,
    person: Annotated[Person, Depends(current_person)],
    _: Annotated[object, Depends(_BEARER)],
) -> None:
    """Let through who has what the route needs.

    Raises:
        HTTPException: 403, which says the role; 401 if they have not signed in.
        NotFound: It is about an account, and accounts are off.
    """
    asking.set(person)
    refuse(person, need_of(request.scope["endpoint"], request.method))


def refuse(person: Person, need: Need) -> None:
    """Raise unless a person has what a route needs. See :func:`permitted`."""
    if person.by not in need.by:
        if person.by == "machine":
            raise NotFound("Accounts are off on this server.")
        if person.by == "token":
            raise HTTPException(403, "A token may not do this: sign in with a password.")
        raise sign_in_first()
    if has(person, need.role):
        return
    if person.by == "nothing":
        raise sign_in_first()
    if person.by == "token":
        raise HTTPException(
            403,
            f"This needs the role {need.role.label}. The scope of the token and the role of "
            f"{person.name} allow {person.role.label}.",
        )
    raise HTTPException(
        403,
        f"This needs the role {need.role.label}, and {person.name} is {person.role.label}. "
        "Whoever runs the server gives roles, with `palimpsest user role`.",
    )


def sign_in_first(detail: str = "Sign in first.") -> HTTPException:
    """The error for who is not known."""
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="Palimpsest"'})


async def sign_in(request: Request) -> None:
    """Refuse who is not signed in, before anything of the request but its head is read.

    Raises:
        HTTPException: As :func:`current_person`.
    """
    if (await current_person(request)).by == "nothing":
        raise sign_in_first()


async def _known(request: Request) -> Person:
    if (header := request.headers.get("authorization")) is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise sign_in_first(
                "Send an API token as `Authorization: Bearer pal_…`. Passwords are taken by the "
                "sign-in page alone. Make a token on the page Account."
            )
        if found := await _find(tokens.find, token.strip()):
            if found.stale:
                await _record(tokens.used, found.id)
            role = Role.READER if found.scope == TokenScope.READ else Role(found.role)
            return Person(found.name, role, "token", found.user_id, found.id)
        raise sign_in_first("There is no such API token. It may have been revoked.")
    held = session_token(request)
    if held and (found := await _find(sessions.find, held)):
        if found.stale:
            await _record(sessions.seen, found.id)
        return Person(found.name, Role(found.role), "session", found.user_id, found.id)
    if get_settings().public:
        return PUBLIC
    raise sign_in_first()


async def _find(look: Callable[[Session, str], SignedIn | None], token: str) -> SignedIn | None:
    if len(token) > LONGEST_TOKEN:
        return None
    async with session_of(reads=True) as session:
        return await run_in_threadpool(look, session, token)


async def _record(write: Callable[[Session, int], None], number: int) -> None:
    """Write the time of a request. That it cannot be written is no reason to refuse the request."""
    try:
        async with session_of(reads=False) as session:
            await run_in_threadpool(write, session, number)
    except (Busy, SQLAlchemyError) as error:
        log.warning("The time of a request was not recorded: %s", error)


# --- The cookie -----------------------------------------------------------------------------------


def over_tls(request: Request) -> bool:
    """True if a request came over TLS, to this server or to a proxy before it."""
    # uvicorn takes the scheme from X-Forwarded-Proto, of proxies that FORWARDED_ALLOW_IPS names.
    return request.url.scheme == "https"


def session_token(request: Request) -> str | None:
    """The session token that a browser sends. Over TLS, that of the secure cookie alone."""
    return request.cookies.get(SECURE_COOKIE if over_tls(request) else COOKIE)


def give_cookie(request: Request, response: Response, token: str) -> None:
    """Have a browser keep a session token. No script can read it, and no other site send it."""
    secure = over_tls(request)
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        token,
        max_age=int(sessions.LONGEST.total_seconds()),
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def take_cookie(request: Request, response: Response) -> None:
    """Have a browser forget its session token."""
    secure = over_tls(request)
    name = SECURE_COOKIE if secure else COOKIE
    response.delete_cookie(name, secure=secure, httponly=True, samesite="lax")


def current_user(person: Annotated[Person, Depends(current_person)]) -> str:
    """The name that signs what is made."""
    return person.name


CurrentUser = Annotated[str, Depends(current_user)]
CurrentPerson = Annotated[Person, Depends(current_person)]
