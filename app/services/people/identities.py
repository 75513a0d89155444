"""People who sign in at an OpenID provider.

They are known by the provider's number for them, the subject: a name may change, or be given to
somebody else. The first time they come they become a person here, under the name that the provider
has for them. A name that somebody has already is never taken over.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.services.errors import Conflict, Forbidden, NotFound
from app.services.people.schemas import PersonName
from interp.vocabulary import Role
from models import User, UserIdentity
from models.settings import get_settings

Claims = Mapping[str, Any]
"""What a provider says of somebody. Its signature was checked, and nothing else."""

NAMES = ("preferred_username", "email", "name")
"""Claims that may hold the name of somebody, the best first."""

_names = TypeAdapter[str](PersonName)


def arrive(session: Session, issuer: str, claims: Claims) -> int:
    """Number of the person whom a provider speaks of. They are added if they are new. Commits the
    session.

    Raises:
        Forbidden: The provider's people of this kind are not let in, or this one was removed.
        Conflict: They are new, and somebody else has their name.
    """
    _check_domain(claims)
    role = _role(claims)
    identity = _find(session, issuer, claims["sub"])
    if identity is None:
        identity = _add(session, issuer, claims, role)
    if identity.user_id is None:
        raise Forbidden("You were removed from this server. Ask an admin to let you in again.")
    user = session.get_one(User, identity.user_id)
    if get_settings().oidc_roles:
        user.role = _given(role)
    session.commit()
    return user.id


def list_removed(session: Session) -> list[UserIdentity]:
    """Whoever was removed and is known to a provider, newest first."""
    gone = select(UserIdentity).where(UserIdentity.user_id.is_(None))
    return list(session.scalars(gone.order_by(UserIdentity.id.desc())))


def readmit(session: Session, *, identity_id: int = 0, name: str = "") -> str:
    """Let somebody in again who was removed: they are a newcomer when they next come. Commits the
    session.

    Returns:
        Their name.

    Raises:
        NotFound: Nobody of this number or name was removed.
    """
    which = (UserIdentity.id == identity_id) | (UserIdentity.name == name)
    gone = delete(UserIdentity).where(UserIdentity.user_id.is_(None), which)
    found = session.scalars(gone.returning(UserIdentity.name)).first()
    if found is None:
        raise NotFound("Nobody of this name was removed who signs in at the provider.")
    session.commit()
    return found


def _find(session: Session, issuer: str, subject: str) -> UserIdentity | None:
    return session.scalar(select(UserIdentity).filter_by(issuer=issuer, subject=subject))


def _add(session: Session, issuer: str, claims: Claims, role: Role | None) -> UserIdentity:
    name, subject = _name(claims), claims["sub"]
    values = {"name": name, "role": _given(role)}
    made = insert(User).values(**values).on_conflict_do_nothing().returning(User.id)
    user_id = session.scalar(made)
    if user_id is None:
        # It waited for whoever was adding the name: their other tab, or somebody else.
        if (theirs := _find(session, issuer, subject)) is not None:
            return theirs
        raise Conflict(
            f"Somebody else is named {name} here, so you cannot sign in under this name. If that "
            "is you with a password, have an admin remove that account first. What you wrote stays."
        )
    identity = UserIdentity(user_id=user_id, issuer=issuer, subject=subject, name=name)
    session.add(identity)
    return identity


def _name(claims: Claims) -> str:
    for claim in NAMES:
        try:
            return _names.validate_python(claims.get(claim))
        except ValidationError:
            continue
    raise Forbidden(
        f"The provider gives you no name that can be used here: it has to send {', '.join(NAMES)} "
        "or one of them."
    )


def _role(claims: Claims) -> Role | None:
    """The highest role of somebody's groups; None if none of them has one."""
    settings = get_settings()
    named = claims.get(settings.oidc_claim)
    groups = named if isinstance(named, list) else [named]
    roles = [Role(role) for group, role in settings.oidc_roles if group in groups]
    return max(roles, key=list(Role).index, default=None)


def _given(role: Role | None) -> Role:
    newcomers = get_settings().oidc_newcomers
    if role is not None:
        return role
    if newcomers == "none":
        raise Forbidden("You are in no group that may sign in here. Ask whoever runs the server.")
    return Role(newcomers)


def _check_domain(claims: Claims) -> None:
    domains = {domain.lower() for domain in get_settings().oidc_domains}
    if not domains:
        return
    domain = str(claims.get("email", "")).rpartition("@")[2].lower()
    if claims.get("email_verified") is not True or domain not in domains:
        raise Forbidden(
            "This server lets in people with an e-mail address, checked by the provider, at "
            f"{', '.join(sorted(domains))}."
        )
