"""``palimpsest user``: people, for installations that have accounts switched on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.errors import CommandError
from interp.vocabulary import Role, TokenScope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models import User

app = typer.Typer(no_args_is_help=True, help="People who may sign in, and their roles.")
console = Console()

Name = Annotated[str, typer.Argument(help="Name of the person, under all that they write.")]
ROLES = " ".join(f"{role}: {role.meaning}" for role in Role)


@app.command()
def add(
    name: Name,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
    role: Annotated[Role | None, typer.Option(help=f"{ROLES} New people are editors.")] = None,
) -> None:
    """Add somebody, or give somebody a new password. That ends their sessions, and no API token."""
    from app.services.people.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD, hasher
    from app.services.people.schemas import LONGEST_NAME
    from app.services.people.sessions import end_all, find_user
    from models import User

    if not name.strip() or ":" in name or not name.isprintable():
        raise CommandError("A name is one line of text, and has no colon in it.")
    if len(name) > LONGEST_NAME:
        raise CommandError(f"A name has at most {LONGEST_NAME} characters.")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise CommandError(
            f"A password has at least {SHORTEST_PASSWORD} and at most {LONGEST_PASSWORD:,} "
            "characters."
        )
    with database() as session:
        user = find_user(session, name)
        known = user is not None
        user = user or User(name=name, role=Role.EDITOR)
        user.password_hash = hasher.hash(password)
        user.role = role or user.role
        session.add(user)
        session.flush()
        end_all(session, user.id)
        session.commit()
        said = "has a new password and is" if known else "may sign in now, as"
        console.print(f"{name} {said} {user.role}.")


@app.command("list")
def list_people() -> None:
    """Everybody who may sign in, with their roles."""
    from sqlalchemy import select

    from models import User

    table = Table("name", "role", "added")
    with database() as session:
        for user in session.scalars(select(User).order_by(User.name)):
            table.add_row(user.name, user.role, f"{user.created_at:%Y-%m-%d}")
    console.print(table)


@app.command()
def role(name: Name, role: Annotated[Role, typer.Argument(help=ROLES)]) -> None:
    """Give somebody another role. It holds from their next request."""
    with database() as session:
        get_user(session, name).role = role
        session.commit()
    console.print(f"{name} is {role} now.")


@app.command()
def remove(name: Name) -> None:
    """Remove somebody, their sessions and API tokens. What they wrote stays, with their name."""
    with database() as session:
        session.delete(get_user(session, name))
        session.commit()
    console.print(f"{name} may not sign in any more.")


@app.command()
def readmit(name: Name) -> None:
    """Let somebody in again who was removed and signs in at the OpenID provider."""
    from app.services.people.identities import readmit

    with database() as session:
        readmit(session, name=name)
    console.print(f"{name} may sign in at the provider again, as a newcomer.", highlight=False)


Label = Annotated[str, typer.Option(help="The purpose of the token, such as a program's name.")]


@app.command()
def token(
    name: Name,
    label: Label,
    scope: Annotated[
        TokenScope, typer.Option(help=" ".join(f"{one}: {one.meaning}" for one in TokenScope))
    ] = TokenScope.READ,
) -> None:
    """Make an API token for somebody, and print it. It is shown this once."""
    from pydantic import ValidationError

    from app.services.people import tokens
    from app.services.people.schemas import TokenCreate
    from interp.validation import message

    try:
        data = TokenCreate(label=label, scope=scope)
    except ValidationError as error:
        raise CommandError(f"--label: {message(error.errors()[0])}") from None
    with database() as session:
        made = tokens.make(session, get_user(session, name).id, data)
    typer.echo(made)


@app.command("tokens")
def list_tokens(name: Name) -> None:
    """The API tokens of somebody, with their last use."""
    from app.services.people import tokens

    table = Table("label", "scope", "made", "last use")
    with database() as session:
        for one in tokens.list_tokens(session, get_user(session, name).id):
            used = f"{one.used_at:%Y-%m-%d %H:%M}" if one.used_at else "never"
            table.add_row(escape(one.label), one.scope, f"{one.created_at:%Y-%m-%d}", used)
    console.print(table)


@app.command()
def revoke(name: Name, label: Label) -> None:
    """Revoke an API token of somebody."""
    from app.services.people import tokens

    with database() as session:
        tokens.revoke(session, get_user(session, name).id, label=label)
    console.print(f"The token {escape(label)} of {name} is revoked.")


@contextmanager
def database() -> Iterator["Session"]:
    """A session on the database of the data folder."""
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        yield session


def get_user(session: "Session", name: str) -> "User":
    """Somebody by their name.

    Raises:
        CommandError: There is nobody of this name.
    """
    from app.services.people.sessions import find_user

    user = find_user(session, name)
    if user is None:
        raise CommandError(f"There is nobody named {name}. `palimpsest user list` names all.")
    return user
