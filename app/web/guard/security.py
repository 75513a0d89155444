"""Who is asking, whether another site made them ask, and what browsers may load."""

import asyncio
import secrets
from base64 import b64decode
from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pwdlib import PasswordHash
from sqlalchemy import select
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.database import session_of
from app.web.guard import guesses
from app.web.places import Places
from app.web.roles import Person, asking, has, need_of
from interp.vocabulary import Role
from models import User
from models.settings import get_settings

hasher = PasswordHash.recommended()
HASHING = Places(2, "Too many people sign in at once. Try again in a few seconds.", waiting=200)
_KEY = secrets.token_bytes(32)
_ABSENT = hasher.hash(secrets.token_urlsafe())
"""Checked when there is no such user, so that the answer takes as long as a wrong password's."""
_verified: set[tuple[str, bytes]] = set()
LONGEST_NAME, LONGEST_PASSWORD = 200, 1000
"""Characters of a name and a password."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        # Token colours are style attributes, and charts style their own elements.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


def verify(password: str, password_hash: str) -> bool:
    """True if the password is right. Right ones are remembered, as Argon2 is slow by design."""
    if _is_remembered(password, password_hash):
        return True
    if not hasher.verify(password, password_hash):
        return False
    if len(_verified) >= 1000:
        _verified.clear()
    _verified.add(_digest(password, password_hash))
    return True


def _is_remembered(password: str, password_hash: str) -> bool:
    return _digest(password, password_hash) in _verified


def _digest(password: str, password_hash: str) -> tuple[str, bytes]:
    return password_hash, blake2b(password.encode(), key=_KEY).digest()


class _Basic(HTTPBasic):
    """A name and a password in UTF-8, which FastAPI's own takes for no sign-in at all."""

    async def __call__(  # type: ignore[override]
        self, request: HTTPConnection
    ) -> HTTPBasicCredentials | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            known = b64decode(value.strip(), validate=True).decode()
        except ValueError:
            return None
        name, colon, password = known.partition(":")
        if scheme.lower() != "basic" or not colon:
            return None
        return HTTPBasicCredentials(username=name, password=password)


_BASIC = _Basic(auto_error=False)


async def current_person(
    request: Request, credentials: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)]
) -> Person:
    """Who is asking. They are looked up once for a request.

    Raises:
        HTTPException: 401 when accounts are on and the name or password is not right, 429 when
            too many wrong ones were tried.
    """
    settings = get_settings()
    if not settings.accounts:
        return Person(settings.user, Role.ADMIN)
    if not hasattr(request.state, "person"):
        request.state.person = await _signed_in(request, credentials)
    person: Person = request.state.person
    return person


async def permitted(request: Request, person: Annotated[Person, Depends(current_person)]) -> None:
    """Let through who has the role that the route needs.

    Raises:
        HTTPException: 403, which says the role.
    """
    need = need_of(request.scope["endpoint"], request.method)
    asking.set(person)
    if not has(person, need.role):
        raise HTTPException(
            403,
            f"This needs the role {need.role.label}, and {person.name} is {person.role.label}. "
            "Whoever runs the server gives roles, with `palimpsest user role`.",
        )


def current_user(person: Annotated[Person, Depends(current_person)]) -> str:
    """The name that signs what is made."""
    return person.name


async def sign_in(request: Request) -> None:
    """Refuse who is not signed in, before anything of the request but its head is read.

    Raises:
        HTTPException: As :func:`current_person`.
    """
    await current_person(request, await _BASIC(request))


async def _signed_in(request: Request, credentials: HTTPBasicCredentials | None) -> Person:
    if credentials is not None and _may_be(credentials):
        name, password = credentials.username, credentials.password
        found = select(User.password_hash, User.role).where(User.name == name)
        async with session_of(reads=True) as session:
            row = await run_in_threadpool(lambda: session.execute(found).one_or_none())
        stored, role = row or (_ABSENT, None)
        address = request.client.host if request.client else "nowhere"
        right = _is_remembered(password, stored) or await _checked(name, password, stored, address)
        if right and role:
            return Person(name, Role(role))
    raise HTTPException(
        401,
        "Sign in with the name and password of a user; `palimpsest user add` makes one.",
        {"WWW-Authenticate": 'Basic realm="Palimpsest", charset="UTF-8"'},
    )


def _may_be(credentials: HTTPBasicCredentials) -> bool:
    """True if there can be such a user. Argon2 would read all of a password, however long."""
    name, password = credentials.username, credentials.password
    return "\0" not in name and len(name) <= LONGEST_NAME and len(password) <= LONGEST_PASSWORD


_checking: dict[tuple[str, bytes], asyncio.Task[bool]] = {}
"""A browser asks for many things at once: their password is looked at once, and counts once."""


async def _checked(name: str, password: str, password_hash: str, address: str) -> bool:
    key = _digest(f"{address} {name} {password}", password_hash)
    if key not in _checking:
        task = asyncio.create_task(_check(name, password, password_hash, address))
        task.add_done_callback(lambda _: _checking.pop(key, None))
        _checking[key] = task
    # Who goes away does not end it for the others.
    return await asyncio.shield(_checking[key])


async def _check(name: str, password: str, password_hash: str, address: str) -> bool:
    await run_in_threadpool(guesses.admit, name, address)
    # Passwords have threads of their own, and no place among answers while they wait for one.
    right = await HASHING.run(verify, password, password_hash)
    if right:
        await run_in_threadpool(guesses.was_right, name, address)
    else:
        guesses.was_wrong(name, address)
    return right


CurrentUser = Annotated[str, Depends(current_user)]


# This and `current_user` stand before every answer. Mostly they wait for nothing, so they are
# coroutines: going to another thread and back takes longer than what they do.
async def same_site(request: Request) -> None:
    """Refuse a change that a page of another site makes a browser ask for.

    Browsers name the origin of a request. Other programs name none, and pass. The header Host names
    this site, because `app.web.guard.hosts` lets no foreign name through. For a proxy that gives
    its own Host, ``PALIMPSEST_HOSTS`` names it.

    Raises:
        HTTPException: 403.
    """
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    ours = {request.headers.get("host", "").lower(), *map(str.lower, get_settings().hosts)}
    foreign = origin is not None and origin.partition("://")[2].lower() not in ours
    if site not in {"same-origin", "none"} or foreign:
        raise HTTPException(403, "This came from another site, so nothing was changed.")


def security_headers(app: ASGIApp) -> ASGIApp:
    """Middleware: what browsers may do with our pages."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
            await send(message)

        await app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    return with_headers
