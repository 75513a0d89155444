"""Search by meaning: what a person types, as a vector."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from interp.embedding.embed import MODEL, embed
from jobs.params import EmbedParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Job, Latent, Study
from models.settings import get_settings, model_folder

COMMAND = f"palimpsest fetch {MODEL}"
NOT_FETCHED = f"Search by meaning needs a small model that is not here yet: run `{COMMAND}` once."


def is_fetched() -> bool:
    """True if the model is in the data folder."""
    return model_folder(get_settings().data, MODEL).is_dir()


def embed_query(text: str) -> NDArray[np.float32]:
    """The embedding of a query.

    Raises:
        Conflict: The model is not fetched; says how.
    """
    if not is_fetched():
        raise Conflict(NOT_FETCHED)
    return _embed(text.strip())


@lru_cache(maxsize=1024)
def _embed(text: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = embed(model_folder(get_settings().data, MODEL), [text])[0]
    return vector


def embedding_of(text: str) -> NDArray[np.float32] | None:
    """Vector of an explanation that is saved; None where the model is not fetched."""
    return _embed(text) if is_fetched() else None


LACKING = exists().where(
    Latent.study_id == bindparam("study"),
    Latent.explanation_id.is_not(None),
    Latent.embedding.is_(None),
)
"""Whether some current explanation of a study, which is named when it is asked, has no vector yet,
so that the search cannot find it."""


def embed_study(session: Session, study: Study, user: str) -> Job:
    """Queue the vectors of the explanations that have none. Commits the session.

    Raises:
        Conflict: The model is not fetched, none is lacking, or a job is at it.
    """
    if not is_fetched():
        raise Conflict(NOT_FETCHED)
    if not session.scalar(select(LACKING), {"study": study.id}):
        raise Conflict("Every explanation of this study can be found by its meaning already.")
    if at_work(session, study):
        raise Conflict("A job makes the explanations ready for search by meaning already.")
    return enqueue(session, study, EmbedParams(), by=user)


def at_work(session: Session, study: Study) -> bool:
    """True if a job that makes embeddings waits or runs."""
    query = select(Job.id).where(
        Job.study_id == study.id, Job.kind == "embed", Job.status.in_(ACTIVE)
    )
    return session.scalar(query.limit(1)) is not None
