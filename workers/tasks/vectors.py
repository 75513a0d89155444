"""The vectors of explanations, by which they are found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, update
from sqlalchemy.orm import Session

from interp.embedding.embed import MODEL, embed
from models import Latent
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


def vectors_of(texts: Sequence[str]) -> Sequence[NDArray[np.float32]] | None:
    """The embeddings of texts, or None where the model for them is not fetched."""
    folder = model_folder(get_settings().data, MODEL)
    return list(embed(folder, texts)) if folder.is_dir() else None
