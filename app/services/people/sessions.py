"""Sessions of people who have signed in, in the database.

A browser holds a random token of 256 bits, and the database its SHA-256: whoever reads the database
can sign in as nobody. A session ends at sign-out, after idle time, and after :data:`LONGEST`.
"""

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Interval, bindparam, delete, func, null, or_, select, update
from sqlalchemy.orm import Session

from models import User, UserSession
from models.settings import get_settings

LONGEST = timedelta(days=30)
"""After this time somebody signs in again, however busy they are."""
SEEN_EVERY = timedelta(minutes=1)
"""Pause between writes of the time of the last request."""


class SignedIn(NamedTuple):
    """Who holds a session or a token."""

    id: int
    """Of the session or the token."""
    user_id: int
    name: str
    role: str
    scope: str | None
    """Of a token. None for a session."""
    stale: bool
    """True if the time of its last request is to be written again."""


def hash_of(token: str) -> bytes:
    """The hash by which a random token is stored. It is no password, so SHA-256 is enough."""
    return sha256(token.encode()).digest()


_STALE = UserSession.seen_at < func.now() - SEEN_EVERY
_FIND = (
    select(UserSession.id, User.id, User.name, User.role, null(), _STALE)
    .join(User, User.id == UserSession.user_id)
    .where(
        UserSession.token_hash == bindparam("hash"),
        UserSession.seen_at > func.now() - bindparam("idle", type_=Interval),
        UserSession.created_at > func.now() - LONGEST,
    )
)


def find(session: Session, token: str) -> SignedIn | None:
    """Who holds a session; None if it has ended."""
    values = {"hash": hash_of(token), "idle": _idle()}
    row = session.execute(_FIND, values).one_or_none()
    return SignedIn(*row) if row else None


def begin(session: Session, user_id: int, before: str | None) -> str:
    """Begin a session, and end the one that the browser had before.

    Returns:
        Its token, which is kept nowhere else.
    """
    token = secrets.token_urlsafe(32)
    idle = UserSession.seen_at <= func.now() - _idle()
    old = UserSession.created_at <= func.now() - LONGEST
    session.execute(delete(UserSession).where(or_(idle, old)))
    if before:
        session.execute(delete(UserSession).where(UserSession.token_hash == hash_of(before)))
    session.add(UserSession(user_id=user_id, token_hash=hash_of(token)))
    session.commit()
    return token


def seen(session: Session, session_id: int) -> None:
    """Record that a session is used now."""
    now = update(UserSession).where(UserSession.id == session_id).values(seen_at=func.now())
    session.execute(now)
    session.commit()


def end(session: Session, session_id: int) -> None:
    """End one session."""
    session.execute(delete(UserSession).where(UserSession.id == session_id))
    session.commit()


def end_all(session: Session, user_id: int) -> None:
    """End all sessions of somebody. The caller commits."""
    session.execute(delete(UserSession).where(UserSession.user_id == user_id))


def find_user(session: Session, name: str) -> User | None:
    """Somebody by their name; None if there is nobody of this name."""
    return session.scalar(select(User).where(User.name == name))


def _idle() -> timedelta:
    return timedelta(hours=get_settings().idle_hours)
