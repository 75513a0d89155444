"""The database session of a request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Annotated

from anyio import CancelScope
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from app.web.places import Places
from models.database import CONNECTIONS, Purpose, new_session

_FULL = "Too many people ask at once, so this was not done. Try again in a few seconds."


READING = Places(CONNECTIONS, _FULL, waiting=200)
CHANGING = Places(3, _FULL, waiting=200)
HEALTH = Places(1, _FULL, waiting=inf)
"""The uses of the web server's threads and connections. Changes and estimates have few places of
their own, so that they never keep pages waiting."""
THREADS = READING.total + CHANGING.total + HEALTH.total
WEB = Purpose("palimpsest web", connections=THREADS, more=0, idle_seconds=300)
"""A connection for every place, so that nobody who has one waits for the other."""


@asynccontextmanager
async def session_of(*, reads: bool) -> AsyncIterator[Session]:
    """A session with a place: no more of them are open at once than there are connections.

    Nobody may wait for a client, for a password or for another place in it.

    Raises:
        Busy: Too many wait already.
    """
    async with (READING if reads else CHANGING).one():
        # Making one asks the database nothing, so it needs no thread. Closing one that has written
        # does, and is done even when the browser has gone.
        session = new_session(reads=reads, purpose=WEB)
        try:
            yield session
        finally:
            if reads or not session.in_transaction():
                session.close()
            else:
                with CancelScope(shield=True):
                    await run_in_threadpool(session.close)


async def _session(request: Request) -> AsyncIterator[Session]:
    async with session_of(reads=request.method in {"GET", "HEAD"}) as session:
        yield session


# Closed before the answer is sent, so that no client can hold a connection.
Database = Annotated[Session, Depends(_session, scope="function")]
