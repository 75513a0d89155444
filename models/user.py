"""People, for installations that have accounts switched on."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Id


class User(Base):
    """Somebody who may sign in. Their name signs their explanations and comments."""

    __tablename__ = "user"
    __table_args__ = (CheckConstraint("role IN ('reader', 'editor', 'admin')", name="role"),)

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[Created]
