"""Requests to the interactive worker, bounded: so many wait at once, none for ever.

Nobody holds a session meanwhile, so those who wait keep nobody else waiting.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException

from app.web.places import Places
from jobs.requests import NoAnswer, Superseded

ASKING = Places(
    32, "Too many texts are being simulated at once. Go on in a few seconds.", waiting=32
)
"""Each has a connection to Redis."""


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """Hold a place while the interactive worker is asked (:func:`jobs.requests.ask`).

    Raises:
        Busy: Too many wait already.
        HTTPException: 503 if no worker answers, 409 if a newer request of the tab took its place.
    """
    async with ASKING.one():
        try:
            yield
        except NoAnswer as error:
            raise HTTPException(503, str(error)) from None
        except Superseded:
            raise HTTPException(409, "A newer request of the same tab took its place.") from None
