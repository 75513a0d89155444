"""Embed explanations, so that they can be found by their meaning."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from interp.embedding.embed import MODEL, embed
from interp.errors import InputError
from models import Explanation, Job, Latent, Study
from models.settings import get_settings, model_folder
from workers.jobs import Progress
from workers.queue import publish

BLOCK = 512
"""Explanations embedded before the job is saved."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Embed the current explanations of a study that are not yet, in the order of writing."""
    lacking = (
        select(Explanation.id, Explanation.text)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .where(Latent.study_id == study.id, Latent.embedding.is_(None))
    )
    left = session.scalar(select(func.count()).select_from(lacking.subquery())) or 0
    total = job.done + left
    while block := session.execute(lacking.order_by(Explanation.id).limit(BLOCK)).all():
        vectors = vectors_of([row.text for row in block])
        if vectors is None:
            raise InputError(f"The model is not here: run `palimpsest fetch {MODEL}` once.")
        save(session, [row.id for row in block], vectors)
        session.commit()
        left -= len(block)
        yield Progress(total - max(left, 0), total, "explanations", "embedding")
    publish(study.id, "latents")


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
    """The embeddings of texts; None where the model for them is not fetched."""
    folder = model_folder(get_settings().data, MODEL)
    return list(embed(folder, texts)) if folder.is_dir() else None
