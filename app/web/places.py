"""Limits on requests of a kind at the same time. A later one waits in turn, or is refused."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import HTTPException

T = TypeVar("T")

RETRY_AFTER = 10
"""Seconds after which somebody who was refused should try again."""


class Busy(HTTPException):
    """The server does as much of this as it can. The message says of what, and what to do."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, detail, {"Retry-After": str(RETRY_AFTER)})


class Places:
    """A number of places in this process.

    Args:
        total: Number of places.
        full: Message to a client that finds no place, and none to wait in.
        waiting: Number of clients that may wait for a place.
    """

    def __init__(self, total: int, full: str, waiting: float = 0) -> None:
        self.total, self._full, self._waiting = total, full, waiting
        self._of_loop: RunVar[CapacityLimiter] = RunVar(f"places {id(self)}")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function on a thread of these places.

        Raises:
            Busy: As :meth:`one`.
        """
        async with self.one():
            return await to_thread.run_sync(function, *arguments, limiter=CapacityLimiter(1))

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a place.

        Raises:
            Busy: All places are taken, and all in which one could wait.
        """
        places = self._limiter()
        holder = object()  # a task may hold more than one
        if places.available_tokens <= 0 and places.statistics().tasks_waiting >= self._waiting:
            raise Busy(self._full)
        await places.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            places.release_on_behalf_of(holder)

    def _limiter(self) -> CapacityLimiter:
        # A limiter belongs to an event loop; a test may run several in a process.
        try:
            return self._of_loop.get()
        except LookupError:
            places = CapacityLimiter(self.total)
            self._of_loop.set(places)
            return places
