"""People, for installations that have accounts switched on."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Id


class User(Base):
    """Somebody who may sign in. Their name signs their explanations and comments."""

    __tablename__ = "user"
    __table_args__ = (CheckConstraint("role IN ('reader', 'editor', 'admin')", name="role"),)

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    """None for who signs in at the OpenID provider alone."""
    role: Mapped[str]
    created_at: Mapped[Created]


class UserIdentity(Base):
    """Somebody as the OpenID provider knows them. It outlives the person: whoever was removed here
    is not let in again as a newcomer."""

    __tablename__ = "user_identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(
        ForeignKey("user.id", ondelete="SET NULL"), index=True
    )
    """None once the person was removed."""
    issuer: Mapped[str]
    subject: Mapped[str]
    """Their number at the provider. It never changes, as a name may."""
    name: Mapped[str]
    """Their name here, so that whoever was removed can be named."""
    created_at: Mapped[Created]


class UserSession(Base):
    """A browser in which somebody has signed in. It holds a token, and this row the hash of it."""

    __tablename__ = "user_session"

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[Created]
    seen_at: Mapped[Created]
    """Time of its last request, a minute late at most."""


class ApiToken(Base):
    """A token by which a program asks as somebody. Only its hash is kept."""

    __tablename__ = "api_token"
    __table_args__ = (
        UniqueConstraint("user_id", "label"),
        CheckConstraint("scope IN ('read', 'write')", name="scope"),
    )

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    label: Mapped[str]
    """The purpose of it, in its owner's words."""
    scope: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[Created]
    used_at: Mapped[datetime | None]
    """Time of its last request, a minute late at most. None before the first."""
