"""``palimpsest user``: people, for installations that have accounts switched on."""

from typing import Annotated

import typer
from rich.console import Console

from cli.errors import CommandError

app = typer.Typer(no_args_is_help=True, help="People who may sign in.")
console = Console()

SHORTEST_PASSWORD = 8


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the person, under all that they write.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Add somebody, or give somebody a new password."""
    from sqlalchemy import select

    from app.web.guard.security import LONGEST_NAME, LONGEST_PASSWORD, hasher
    from cli.servers import connect
    from models import User
    from models.database import new_session

    if not name.strip() or ":" in name or not name.isprintable():
        raise CommandError("A name is one line of text, and has no colon in it.")
    if len(name) > LONGEST_NAME:
        raise CommandError(f"A name has at most {LONGEST_NAME} characters.")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise CommandError(
            f"A password has at least {SHORTEST_PASSWORD} and at most {LONGEST_PASSWORD:,} "
            "characters."
        )
    with connect(), new_session() as session:
        user = session.scalar(select(User).where(User.name == name))
        known = user is not None
        user = user or User(name=name)
        user.password_hash = hasher.hash(password)
        session.add(user)
        session.commit()
    console.print(f"{name} has a new password." if known else f"{name} may sign in now.")
