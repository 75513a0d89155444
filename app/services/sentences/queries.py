"""Sentences in the database, and what fires on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.latents.examples import Token, get_calibration_map, tokens_of
from app.services.sentences.schemas import SentenceCreate
from app.services.studies.queries import count_latents
from jobs.params import SentenceParams
from jobs.queue import enqueue
from models import Explanation, Latent, Sentence, Study


@dataclass(frozen=True)
class Firing:
    """A latent that fires on a sentence."""

    latent: int
    max_activation: float
    """Its largest one in the explain set, which colours are relative to."""
    explanation_id: int | None
    explanation: str | None
    peak: float
    position: int
    activations: list[float]
    tokens: list[Token]
    simulated: list[float | None] | None
    failures: dict[str, int]


class OnToken(NamedTuple):
    """A latent on one token."""

    latent: int
    activation: float
    share: float
    """Of its largest activation in the explain set; at most 1."""
    explanation: str | None


def create_sentence(session: Session, study: Study, data: SentenceCreate, user: str) -> Sentence:
    """Insert a sentence and queue it. Commits the session.

    Raises:
        Conflict: The study has no latents yet; nothing is saved.
    """
    if not count_latents(session, study):
        raise Conflict(
            f"Study {study.slug} has no latents yet: its activations are still to be collected. "
            "The jobs page shows how far that is."
        )
    sentence = Sentence(
        study_id=study.id, simulator_id=study.simulator_id, text=data.text, created_by=user
    )
    session.add(sentence)
    session.flush()
    order = SentenceParams(sentence_id=sentence.id)
    enqueue(session, study, order, by=user, fills=sentence)
    return sentence


def list_sentences(
    session: Session, study: Study, *, limit: int, offset: int = 0
) -> tuple[list[Sentence], int]:
    """Sentences of a study, newest first, and how many there are in all."""
    mine = Sentence.study_id == study.id
    query = select(Sentence).where(mine).order_by(Sentence.id.desc())
    total = session.scalar(select(func.count()).select_from(Sentence).where(mine)) or 0
    return list(session.scalars(query.limit(limit).offset(offset))), total


def get_sentence(session: Session, study: Study, sentence_id: int) -> Sentence:
    """One sentence of a study.

    Raises:
        NotFound: The study has none of this number.
    """
    sentence = session.get(Sentence, sentence_id)
    if sentence is None or sentence.study_id != study.id:
        raise NotFound(f"There is no sentence {sentence_id} in study {study.slug}.")
    return sentence


def firing(
    session: Session, study: Study, sentence: Sentence, *, limit: int
) -> tuple[list[Firing], int]:
    """The latents that fire on a sentence, largest activation first, and how many there are."""
    peaks: dict[int, float] = {}
    for active in sentence.active:
        for index, value in active:
            peaks[int(index)] = max(peaks.get(int(index), 0.0), value)
    strongest = sorted(peaks, key=lambda index: (-peaks[index], index))[:limit]
    known = _latents(session, study, strongest)
    found = [
        _firing(session, study, sentence, *known[index]) for index in strongest if index in known
    ]
    return found, len(peaks)


def firing_of(
    session: Session, study: Study, sentence: Sentence, latent: Latent, shown: Explanation | None
) -> Firing:
    """One latent on a sentence, as an extra example of it: real, and what the explanation that is
    shown predicts, if that was simulated on this text."""
    return _firing(session, study, sentence, latent, shown)


def on_token(session: Session, study: Study, sentence: Sentence, position: int) -> list[OnToken]:
    """The active latents of one token, strongest first."""
    active = [(int(index), value) for index, value in sentence.active[position]]
    known = _latents(session, study, [index for index, _ in active])
    rows = []
    for index, value in active:
        latent, explanation = known.get(index, (None, None))
        most = latent.max_activation if latent else 0.0
        share = min(value / most, 1.0) if most > 0 else 1.0
        rows.append(OnToken(index, value, share, explanation.text if explanation else None))
    return rows


def strongest_token(sentence: Sentence) -> int | None:
    """The token with the largest activation; None where nothing fires, or is known yet."""
    peaks = [(active[0][1], -place) for place, active in enumerate(sentence.active) if active]
    return -max(peaks)[1] if peaks else None


def _latents(
    session: Session, study: Study, indices: Iterable[int]
) -> dict[int, tuple[Latent, Explanation | None]]:
    rows = session.execute(
        select(Latent, Explanation)
        .outerjoin(Explanation, Explanation.id == Latent.explanation_id)
        .where(Latent.study_id == study.id, Latent.index.in_(list(indices)))
    )
    return {latent.index: (latent, explanation) for latent, explanation in rows}


def _firing(
    session: Session,
    study: Study,
    sentence: Sentence,
    latent: Latent,
    explanation: Explanation | None,
) -> Firing:
    activations = sentence.activations(latent.index)
    made = sentence.simulation(explanation.id) if explanation else None
    calibration_map = (
        get_calibration_map(session, study, explanation) if explanation and made else None
    )
    values = made["values"] if made else None
    # None becomes NaN.
    raw = None if values is None else np.array(values, np.float32)
    position = int(np.argmax(activations)) if activations else 0
    return Firing(
        latent=latent.index,
        max_activation=latent.max_activation,
        explanation_id=explanation.id if explanation else None,
        explanation=explanation.text if explanation else None,
        peak=max(activations, default=0.0),
        position=position,
        activations=activations,
        tokens=tokens_of(
            study, activations, sentence.tokens, sentence.strings, raw, calibration_map
        ),
        simulated=values,
        failures=made["failures"] if made else {},
    )
