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
from sqlalchemy.orm import Session
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database import Database
from models import User
from models.settings import get_settings

hasher = PasswordHash.recommended()
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
    session: Database,
    credentials: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))],
) -> str:
    """Name of who is asking.

    Raises:
        HTTPException: 401 when accounts are on and the name or password is not right.
    """
    settings = get_settings()
    if not settings.accounts:
        return settings.user
    return await run_in_threadpool(_signed_in, session, credentials)


def _signed_in(session: Session, credentials: HTTPBasicCredentials | None) -> str:
    if credentials is not None and "\0" not in credentials.username:
        user = session.scalar(select(User).where(User.name == credentials.username))
        # The answer may wait for its thread, and is not to hold a connection while it does: others
        # would wait for that on all threads.
        session.close()
        known = verify(credentials.password, user.password_hash if user else _ABSENT)
        if user is not None and known:
            return user.name
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
