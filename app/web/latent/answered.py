"""Parts of the edit box that the interactive worker answers, while somebody types."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Form, HTTPException, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.web.asking import Answer, Question, ask_about
from models import Latent, Study

Tab = Annotated[str, Form(max_length=40)]
"""The browser tab that asks."""
Number = Annotated[int, Form(ge=0, lt=2**53)]
"""Of the request in its tab. Of several the newest is answered."""


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
    """Ask the interactive worker about a latent (:func:`~app.web.asking.ask_about`), or say on the
    page why there is no answer.

    Args:
        refused: The part with a reason in place of an answer.

    Returns:
        What was asked and the answer; or the response, which is empty if nobody waits any more.
    """
    try:
        answered = await ask_about(
            where, name, question, answer, tab=tab, number=number, seconds=seconds
        )
    except (ValueError, Conflict) as error:
        return refused(str(error))
    except HTTPException as error:
        return Response(status_code=204) if error.status_code == 409 else refused(error.detail)
    if await request.is_disconnected():  # its browser has asked again meanwhile
        return Response(status_code=204)
    return answered
