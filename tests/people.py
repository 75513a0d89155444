"""People of a web server with accounts: in the database, signed in, and with API tokens."""

import httpx
from sqlalchemy.orm import Session

from app.services.people import tokens
from app.services.people.passwords import hasher
from app.services.people.schemas import TokenCreate
from interp.vocabulary import Role, TokenScope
from models import User

PASSWORD = "pässwörd ✓ right horse"


def add_person(session: Session, name: str, role: Role, password: str = PASSWORD) -> User:
    """Somebody who may sign in."""
    user = User(name=name, password_hash=hasher.hash(password), role=role)
    session.add(user)
    session.commit()
    return user


def bearer(session: Session, user: User, scope: TokenScope = TokenScope.WRITE) -> dict[str, str]:
    """The header of a program that has a new API token of somebody."""
    token = tokens.make(session, user.id, TokenCreate(label=f"for {scope}", scope=scope))
    return {"Authorization": f"Bearer {token}"}


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    """Send the form, as a browser does; the client keeps the cookie."""
    return client.post("/sign-in", data={"name": name, "password": password})
