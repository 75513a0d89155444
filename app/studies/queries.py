"""Studies in the database."""

from typing import Annotated

from fastapi import Path
from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.errors import Conflict, NotFound
from app.jobs.queries import submit, tell
from app.simulators.queries import get_simulator
from app.studies.schemas import SLUG_PATTERN, StudyCreate
from models import Job, Latent, Study

Slug = Annotated[str, Path(pattern=SLUG_PATTERN, max_length=80, description="Name of a study.")]


# Statements that many pages make are put together once: that takes as long as running them. Most
# pages that show a study show its simulator's figures, and say whose they are.
_BY_SLUG = select(Study).options(joinedload(Study.simulator)).where(Study.slug == bindparam("slug"))


class SlugTaken(Conflict):
    """There is a study of this name already."""


def list_studies(session: Session) -> list[Study]:
    """All studies, newest first."""
    return list(session.scalars(select(Study).order_by(Study.created_at.desc(), Study.id.desc())))


def get_study(session: Session, slug: str) -> Study:
    """One study.

    Raises:
        NotFound: There is none of this name.
    """
    study = session.scalar(_BY_SLUG, {"slug": slug})
    if study is None:
        raise NotFound(f"There is no study named {slug}. The first page lists all studies.")
    return study


def create_study(session: Session, data: StudyCreate, user: str) -> Study:
    """Insert a study and submit the job that collects its activations. Commits the session.

    Raises:
        SlugTaken: There is a study of this name already; nothing is changed.
    """
    study = Study(**data.model_dump(exclude={"first_latents"}))
    session.add(study)
    try:
        session.flush()
    except IntegrityError as error:
        session.rollback()
        raise SlugTaken(
            f"There is a study named {data.slug} already; choose another name."
        ) from error
    params = {"first_latents": data.first_latents}
    submit(session, Job(study_id=study.id, kind="collect", params=params, created_by=user))
    return study


def use_simulator(session: Session, study: Study, simulator_id: int) -> Study:
    """Have the pages of a study show the figures of another simulator. Commits the session.

    Raises:
        NotFound: There is no such simulator.
    """
    study.simulator_id = get_simulator(session, simulator_id).id
    session.commit()
    tell(study.id, "latents", 0)
    return study


def count_latents(session: Session, study: Study) -> int:
    """How many latents the study has; 0 until its activations are collected."""
    query = select(func.count()).select_from(Latent).where(Latent.study_id == study.id)
    return session.scalar(query) or 0
