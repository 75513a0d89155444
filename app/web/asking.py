"""Requests to the interactive worker, bounded: so many wait at once, none for ever.

Nobody holds a session meanwhile, so those who wait keep nobody else waiting.
"""

from collections.abc import Callable
from typing import TypeVar

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from app.services.latents.queries import study_and_latent
from app.web.database import session_of
from app.web.places import Places
from jobs.drafts import Message
from jobs.requests import NoAnswer, Superseded, ask
from models import Latent, Study

ASKING = Places(
    32, "Too many texts are being simulated at once. Go on in a few seconds.", waiting=32
)
"""Each has a connection to Redis."""

Question = TypeVar("Question", bound=Message)
Answer = TypeVar("Answer", bound=Message)


async def ask_about(
    where: tuple[str, int],
    name: str,
    question: Callable[[Session, Study, Latent], Question],
    answer: type[Answer],
    *,
    tab: str = "",
    number: int = 0,
    seconds: float | None = None,
) -> tuple[Question, Answer]:
    """Ask the interactive worker about a latent, see :func:`jobs.requests.ask`.

    Args:
        where: Slug of the study, index of the latent.
        question: Makes the request. What it raises is raised.

    Returns:
        What was asked, and the answer.

    Raises:
        Busy: Too many wait already.
        HTTPException: 503 if no worker answers, 409 if a newer request of the tab took its place.
    """

    def asked(session: Session) -> tuple[int, Question]:
        study, latent = study_and_latent(session, *where)
        return study.id, question(session, study, latent)

    async with session_of(reads=True) as session:
        study_id, one = await run_in_threadpool(asked, session)
    async with ASKING.one():
        try:
            found = await ask(name, study_id, one, answer, tab=tab, number=number, seconds=seconds)
        except NoAnswer as error:
            raise HTTPException(503, str(error)) from None
        except Superseded:
            raise HTTPException(409, "A newer request of the same tab took its place.") from None
    return one, found
