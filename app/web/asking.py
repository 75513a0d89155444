"""Requests to the interactive worker, bounded: so many wait at once, none for ever.

Nobody holds a session meanwhile, so those who wait keep nobody else waiting.
"""

from typing import TypeVar

from fastapi import HTTPException
from pydantic import BaseModel

from app.web.places import Places
from jobs.requests import NoAnswer, Superseded, ask

ASKING = Places(
    32, "Too many texts are being simulated at once. Go on in a few seconds.", waiting=32
)
"""Each has a connection to Redis."""

Answer = TypeVar("Answer", bound=BaseModel)


async def answer_to(
    name: str,
    study_id: int,
    request: BaseModel,
    answer: type[Answer],
    *,
    tab: str = "",
    number: int = 0,
    seconds: float | None = None,
) -> Answer:
    """The interactive worker's answer to a request, see :func:`jobs.requests.ask`.

    Raises:
        Busy: Too many wait already.
        HTTPException: 503 if no worker answers, 409 if a newer request of the tab took its place.
    """
    async with ASKING.one():
        try:
            return await ask(
                name, study_id, request, answer, tab=tab, number=number, seconds=seconds
            )
        except NoAnswer as error:
            raise HTTPException(503, str(error)) from None
        except Superseded:
            raise HTTPException(409, "A newer request of the same tab took its place.") from None
