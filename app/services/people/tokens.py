"""API tokens: programs send them in place of a password.

A token begins with ``pal_``, so that people and scanners of secrets know it. It is shown once, and
the database has its SHA-256.
"""

import secrets

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.people.schemas import TokenCreate
from app.services.people.sessions import SEEN_EVERY, SignedIn, hash_of
from models import ApiToken, User

PREFIX = "pal_"
MOST = 100
"""Tokens of a person."""

_STALE = func.coalesce(ApiToken.used_at < func.now() - SEEN_EVERY, True)
_FIND = (
    select(ApiToken.id, User.id, User.name, User.role, ApiToken.scope, _STALE)
    .join(User, User.id == ApiToken.user_id)
    .where(ApiToken.token_hash == bindparam("hash"))
)


def find(session: Session, token: str) -> SignedIn | None:
    """Who holds a token; None if there is none, or it was revoked."""
    row = session.execute(_FIND, {"hash": hash_of(token)}).one_or_none()
    return SignedIn(*row) if row else None


def used(session: Session, token_id: int) -> None:
    """Record that a token is used now."""
    now = update(ApiToken).where(ApiToken.id == token_id).values(used_at=func.now())
    session.execute(now)
    session.commit()


def list_tokens(session: Session, user_id: int) -> list[ApiToken]:
    """The tokens of somebody, newest first."""
    mine = select(ApiToken).where(ApiToken.user_id == user_id)
    return list(session.scalars(mine.order_by(ApiToken.id.desc())))


def make(session: Session, user_id: int, data: TokenCreate) -> str:
    """Make a token.

    Returns:
        The token itself, which is kept nowhere.

    Raises:
        Conflict: They have a token of this label, or very many.
    """
    count = select(func.count()).select_from(ApiToken).where(ApiToken.user_id == user_id)
    if session.scalars(count).one() >= MOST:
        raise Conflict(f"There are {MOST} tokens already. Revoke one first.")
    token = PREFIX + secrets.token_urlsafe(32)
    values = {"user_id": user_id, "token_hash": hash_of(token), **data.model_dump()}
    made = insert(ApiToken).values(**values).on_conflict_do_nothing().returning(ApiToken.id)
    if session.scalar(made) is None:
        raise Conflict(f"There is a token “{data.label}” already. Name this one differently.")
    session.commit()
    return token


def revoke(session: Session, user_id: int, *, token_id: int = 0, label: str = "") -> None:
    """Revoke a token of somebody, by its number or its label.

    Raises:
        NotFound: They have no such token.
    """
    which = or_(ApiToken.id == token_id, ApiToken.label == label)
    gone = delete(ApiToken).where(ApiToken.user_id == user_id, which).returning(ApiToken.id)
    if session.scalar(gone) is None:
        raise NotFound("There is no such token. It may have been revoked already.")
    session.commit()
