"""Sentences as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy.orm import Session

from app.services.jobs.queries import delete_own
from app.services.sentences import queries
from app.services.sentences.schemas import (
    PER_TOKEN,
    ActiveLatent,
    SentenceCreate,
    SentenceLatent,
    SentenceList,
    SentenceOut,
    SentenceSummary,
    SentenceToken,
)
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from models import Sentence, Study

router = APIRouter(tags=["sentences"])

LATENTS = 100
SentenceId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a sentence.")]


@router.get("/studies/{slug}/sentences", summary="List sentences")
def list_sentences(
    slug: Slug,
    session: Database,
    limit: Annotated[int, Query(ge=1, le=500, description="Most rows to return.")] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="Rows to skip first.")] = 0,
) -> SentenceList:
    """Sentences that were tried, newest first."""
    found, total = queries.list_sentences(
        session, get_study(session, slug), limit=limit, offset=offset
    )
    items = [SentenceSummary.model_validate(sentence) for sentence in found]
    return SentenceList(total=total, items=items)


@router.post("/studies/{slug}/sentences", summary="Try a sentence", status_code=201)
def create_sentence(
    slug: Slug, data: SentenceCreate, session: Database, user: CurrentUser
) -> SentenceOut:
    """Queue a text: which latents fire on it, and what their explanations predict."""
    study = get_study(session, slug)
    return _out(session, study, queries.create_sentence(session, study, data, user))


@router.get("/studies/{slug}/sentences/{sentence_id}", summary="Get a sentence")
def get_sentence(slug: Slug, sentence_id: SentenceId, session: Database) -> SentenceOut:
    """One sentence with the latents that fire on it, real beside simulated."""
    study = get_study(session, slug)
    return _out(session, study, queries.get_sentence(session, study, sentence_id))


@router.delete(
    "/studies/{slug}/sentences/{sentence_id}", summary="Delete a sentence", status_code=204
)
def delete_sentence(
    slug: Slug, sentence_id: SentenceId, session: Database, user: CurrentUser
) -> None:
    """Delete one of your own, once its job has ended."""
    study = get_study(session, slug)
    delete_own(session, queries.get_sentence(session, study, sentence_id), user)


def _out(session: Session, study: Study, sentence: Sentence) -> SentenceOut:
    found, total = queries.firing(session, study, sentence, limit=LATENTS)
    return SentenceOut(
        **SentenceSummary.model_validate(sentence).model_dump(),
        tokens=[
            SentenceToken(
                text=text,
                latents=[
                    ActiveLatent(latent=int(index), activation=value)
                    for index, value in active[:PER_TOKEN]
                ],
            )
            for text, active in zip(sentence.strings, sentence.active, strict=True)
        ],
        latents=[SentenceLatent.model_validate(one) for one in found],
        latents_total=total,
    )
