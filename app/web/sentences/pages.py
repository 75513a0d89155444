"""The page to try a sentence, and the page of one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.fields import Sought
from app.services.jobs.queries import delete_own
from app.services.sentences import queries
from app.services.sentences.schemas import MAX_TEXT, PER_TOKEN, SentenceCreate
from app.services.simulators.independence import StudySimulator, assess
from app.services.simulators.queries import get_simulator
from app.services.studies.queries import count_latents, get_study
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import form_fields
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.sentences.api import SentenceId
from app.web.templates import render
from app.web.urls import url
from jobs.status import ACTIVE, STOPPED
from models import Job, Study

router = APIRouter()

RECENT = 10
"""Sentences that the form's page lists."""
STRONGEST = 20
"""Latents that a sentence's page shows at first."""
ALL = 500


@router.get("/studies/{slug}/try")
def try_form(
    request: Request,
    slug: Slug,
    session: Database,
    text: Annotated[Sought, Query(max_length=10_000)] = "",
) -> HTMLResponse:
    """The form, with the text of the address in it."""
    return _form(request, session, get_study(session, slug), text, "")


@router.post("/studies/{slug}/try")
def try_sentence(
    request: Request,
    slug: Slug,
    values: Annotated[dict[str, str], Depends(form_fields)],
    session: Database,
    user: CurrentUser,
) -> Response:
    """The button “Try it”: go to the new sentence, or show the form with what was wrong."""
    study = get_study(session, slug)
    text = values.get("text", "")
    try:
        data = SentenceCreate(text=text)
        sentence = queries.create_sentence(session, study, data, user)
    except ValidationError as error:
        return _form(request, session, study, text, " ".join(messages(error).values()), 422)
    except Conflict as error:
        return _form(request, session, study, text, str(error), 409)
    return RedirectResponse(url("sentence", slug, sentence.id), 303)


@router.get("/studies/{slug}/sentences/{sentence_id}")
def show_sentence(
    request: Request,
    slug: Slug,
    sentence_id: SentenceId,
    session: Database,
    token: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    more: bool = False,
) -> HTMLResponse:
    """One sentence: the latents of one token, and those that fire most on the whole text.

    Args:
        token: The token with the latents to show, by default that with the largest activation.
        more: Show all latents that fire, not only the strongest.
    """
    study = get_study(session, slug)
    sentence = queries.get_sentence(session, study, sentence_id)
    job = session.get(Job, sentence.job_id) if sentence.job_id else None
    if token is None or token >= len(sentence.active):
        token = queries.strongest_token(sentence)
    latents, total = queries.firing(session, study, sentence, limit=ALL if more else STRONGEST)
    simulator = get_simulator(session, sentence.simulator_id) if sentence.simulator_id else None
    context = {
        "study": study,
        "simulator": StudySimulator(simulator, assess(session, study, simulator))
        if simulator
        else None,
        "sentence": sentence,
        "token": token,
        "on_token": queries.on_token(session, study, sentence, token) if token is not None else [],
        "per_token": PER_TOKEN,
        "latents": latents,
        "total": total,
        "more": more,
        "peaks": [active[0][1] if active else 0.0 for active in sentence.active],
        "job": job if job and job.status in ACTIVE + STOPPED else None,
        "running": job is not None and job.status in ACTIVE,
    }
    return render(request, "pages/sentence.html", context)


@router.post("/studies/{slug}/sentences/{sentence_id}/delete")
def delete(
    slug: Slug, sentence_id: SentenceId, session: Database, user: CurrentUser
) -> RedirectResponse:
    """The button “Delete”."""
    study = get_study(session, slug)
    delete_own(session, queries.get_sentence(session, study, sentence_id), user)
    return RedirectResponse(url("try", slug), 303)


def _form(
    request: Request, session: Session, study: Study, text: str, error: str, status: int = 200
) -> HTMLResponse:
    recent, total = queries.list_sentences(session, study, limit=RECENT)
    context = {
        "study": study,
        "collected": bool(count_latents(session, study)),
        "text": text,
        "error": error,
        "max_text": MAX_TEXT,
        "recent": recent,
        "total": total,
    }
    return render(request, "pages/try.html", context, status)
