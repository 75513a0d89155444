"""Parts of the edit box that the interactive worker answers, while somebody types."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.latents.queries import study_and_latent
from app.web.asking import asking
from app.web.database import session_of
from jobs.drafts import Message
from jobs.requests import ask
from models import Latent, Study

Question = TypeVar("Question", bound=Message)
Answer = TypeVar("Answer", bound=Message)


async def answered_part(
    request: Request,
    where: tuple[str, int],
    name: str,
    question: Callable[[Session, Study, Latent], Question],
    answer: type[Answer],
    refused: Callable[[str], Response],
    *,
    tab: str,
    number: int,
    seconds: float | None = None,
) -> tuple[Question, Answer] | Response:
    """Ask the interactive worker about a latent, or say on the page why there is no answer.

    Args:
        where: Slug of the study, index of the latent.
        name: See :data:`jobs.requests.REQUESTS`.
        refused: The part with a reason in place of an answer.
        tab: The browser tab that asks.
        number: Of the request in this tab. Of several the newest is answered.
        seconds: See :func:`jobs.requests.ask`.

    Returns:
        What was asked and the answer; or the response, which is empty if nobody waits any more.
    """

    def asked(session: Session) -> tuple[int, Question]:
        study, latent = study_and_latent(session, *where)
        return study.id, question(session, study, latent)

    try:
        async with session_of(reads=True) as session:
            study_id, one = await run_in_threadpool(asked, session)
        async with asking():
            found = await ask(name, study_id, one, answer, tab=tab, number=number, seconds=seconds)
    except (ValueError, Conflict) as error:
        return refused(str(error))
    except HTTPException as error:
        return Response(status_code=204) if error.status_code == 409 else refused(error.detail)
    if await request.is_disconnected():  # its browser has asked again meanwhile
        return Response(status_code=204)
    return one, found
