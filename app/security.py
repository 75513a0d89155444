"""Who is asking, whether another site made them ask, and what browsers may load."""

import secrets
from hashlib import blake2b
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pwdlib import PasswordHash
from sqlalchemy import select
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database import session_of
from app.places import Places
from models import User
from models.settings import get_settings

hasher = PasswordHash.recommended()
HASHING = Places(2, "Too many people sign in at once. Try again in a few seconds.", waiting=200)
_BASIC = HTTPBasic(auto_error=False)
_KEY = secrets.token_bytes(32)
_ABSENT = hasher.hash(secrets.token_urlsafe())
"""Checked when there is no such user, so that the answer takes as long as a wrong password's."""
_verified: set[tuple[str, bytes]] = set()

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
    """Whether the password is right. Right ones are remembered, as Argon2 is slow by design."""
    seen = password_hash, blake2b(password.encode(), key=_KEY).digest()
    if seen in _verified:
        return True
    if not hasher.verify(password, password_hash):
        return False
    if len(_verified) >= 1000:
        _verified.clear()
    _verified.add(seen)
    return True


async def current_user(
    request: Request, credentials: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)]
) -> str:
    """Name of who is asking. It is looked up once for a request.

    Raises:
        HTTPException: 401 when accounts are on and the name or password is not right.
    """
    settings = get_settings()
    if not settings.accounts:
        return settings.user
    if not hasattr(request.state, "user"):
        request.state.user = await _signed_in(credentials)
    user: str = request.state.user
    return user


async def sign_in(request: Request) -> None:
    """Refuse who is not signed in, before anything of the request but its head is read.

    Raises:
        HTTPException: As :func:`current_user`.
    """
    await current_user(request, await _BASIC(request))


async def _signed_in(credentials: HTTPBasicCredentials | None) -> str:
    if credentials is not None and "\0" not in credentials.username:
        found = select(User.name, User.password_hash).where(User.name == credentials.username)
        async with session_of(reads=True) as session:
            user = await run_in_threadpool(lambda: session.execute(found).one_or_none())
        # Passwords have threads of their own, and no place among answers while they wait for one.
        known = await HASHING.run(
            verify, credentials.password, user.password_hash if user else _ABSENT
        )
        if user is not None and known:
            return str(user.name)
    raise HTTPException(
        401,
        "Sign in with the name and password of a user; `palimpsest user add` makes one.",
        {"WWW-Authenticate": 'Basic realm="Palimpsest", charset="UTF-8"'},
    )


CurrentUser = Annotated[str, Depends(current_user)]


# This and `current_user` stand before every answer. Mostly they wait for nothing, so they are
# coroutines: going to another thread and back takes longer than what they do.
async def same_site(request: Request) -> None:
    """Refuse a change that a page of another site makes a browser ask for.

    Browsers say where a request comes from; programs that are not browsers say nothing, and pass.

    Raises:
        HTTPException: 403.
    """
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
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
