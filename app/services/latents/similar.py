"""Latents that are like one: in the direction they write to, or in what their explanation says."""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Latent, Study

COUNT = 10
"""How many of each kind."""


class Neighbour(NamedTuple):
    """A latent that is like another."""

    latent: int
    """Its index."""
    cosine: float
    explanation: str | None


class SimilarLatents(NamedTuple):
    """Latents that are like one, most alike first."""

    by_direction: list[Neighbour] | None
    """By the cosine of decoder directions; None where the study was collected without them."""
    by_meaning: list[Neighbour] | None
    """By the cosine of the explanations' embeddings; None where this one's has none yet."""


def similar_latents(session: Session, study: Study, latent: Latent) -> SimilarLatents:
    """The latents most like one."""
    return SimilarLatents(
        _by_direction(session, study, latent), _by_meaning(session, study, latent)
    )


def _by_direction(session: Session, study: Study, latent: Latent) -> list[Neighbour] | None:
    if latent.similar is None:
        return None
    cosines = {int(index): float(cosine) for index, cosine in latent.similar[:COUNT]}
    texts = session.execute(
        select(Latent.index, Explanation.text)
        .outerjoin(Explanation, Explanation.id == Latent.explanation_id)
        .where(Latent.study_id == study.id, Latent.index.in_(cosines))
    )
    found = {index: words for index, words in texts}
    return [Neighbour(i, cosine, found[i]) for i, cosine in cosines.items() if i in found]


def _by_meaning(session: Session, study: Study, latent: Latent) -> list[Neighbour] | None:
    if latent.embedding is None:
        return None
    distance = Latent.embedding.cosine_distance(latent.embedding)
    found = session.execute(
        select(Latent.index, distance.label("distance"), Explanation.text)
        .join(Explanation, Explanation.id == Latent.explanation_id)
        .where(Latent.study_id == study.id, Latent.id != latent.id, Latent.embedding.is_not(None))
        .order_by(distance)
        .limit(COUNT)
    )
    return [Neighbour(index, 1 - far, words) for index, far, words in found]
