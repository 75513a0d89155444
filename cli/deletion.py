"""Functions that the commands for deleting share."""

import sys
import time

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy import select

from cli.errors import CommandError
from models.database import new_session
from workers.deletion import TABLES, StillAtWork, What
from workers.deletion import remove as removing

console = Console()


def confirm(what: str, question: str, yes: bool) -> None:
    """Say what hangs on something, and ask whether to delete it.

    Raises:
        CommandError: Nobody is there to answer.
        typer.Abort: The answer is no.
    """
    console.print(escape(what), highlight=False)
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("Nothing was deleted, as nobody can be asked here. Add --yes.")
    typer.confirm(question, abort=True)


def remove(what: What, number: int) -> None:
    """Remove the rows and files of what is marked as deleted, here and now.

    No worker need run. One that is still at work on it is waited for, and one that removes it too.
    """
    table = TABLES[what]
    with console.status("Removing rows and files") as status, new_session() as session:
        rows = 0
        while session.scalar(select(table.id).where(table.id == number)) is not None:
            session.rollback()
            try:
                for removed in removing(session, what, number):
                    rows += removed
                    status.update(f"Removing rows and files, {rows:,} rows so far")
            except StillAtWork:
                status.update("Waiting for a worker to finish its unit of work")
            time.sleep(0.5)
