"""The vectors of explanations, by which they are found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session

from interp.embedding.embed import MODEL, embed
from models import Explanation, Latent, Study
from models.settings import get_settings, model_folder


def save(
    session: Session, explanation_ids: Sequence[int], vectors: Sequence[NDArray[np.float32]]
) -> None:
    """Save the embeddings of explanations, where they are current."""
    rows = [
        {"explanation": number, "vector": vector}
        for number, vector in zip(explanation_ids, vectors, strict=True)
    ]
    session.connection().execute(
        update(Latent)
        .where(Latent.explanation_id == bindparam("explanation"))
        .values(embedding=bindparam("vector")),
        rows,
    )


def lacking(study: Study) -> Select[int, str]:
    """The current explanations of a study that have no vector, in the order of writing: ids and
    texts."""
    return (
        select(Explanation.id, Explanation.text)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .where(Latent.study_id == study.id, Latent.embedding.is_(None))
        .order_by(Explanation.id)
    )


def are_lacking(session: Session, study: Study) -> bool:
    """True if there are such, and the model for them is fetched."""
    return _folder().is_dir() and session.execute(lacking(study).limit(1)).first() is not None


def vectors_of(texts: Sequence[str]) -> Sequence[NDArray[np.float32]] | None:
    """The embeddings of texts, or None where the model for them is not fetched."""
    return list(embed(_folder(), texts)) if _folder().is_dir() else None


def _folder() -> Path:
    return model_folder(get_settings().data, MODEL)
