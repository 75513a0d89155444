"""What the answers to drafts rest on, kept from one request to the next: it does not change."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import ContextSet
from models import Context, Example, Latent, Study
from models.database import new_session
from workers.resources import real_activations
from workers.tasks.rows import context_strings, documents_of


class Calibrate(NamedTuple):
    """The calibrate set of a study."""

    strings: list[list[str]]
    documents: list[str]


class Shown(NamedTuple):
    """Examples of a latent."""

    ids: list[int]
    strings: list[list[str]]


def calibrate_set(session: Session, study: Study) -> Calibrate:
    """The contexts that drafts are scored on."""
    return _calibrate(study.id, collection(session, study))


def real_values(
    session: Session, study: Study, latent: int
) -> Float[np.ndarray, "context position"]:
    """A latent's real activations on the calibrate set, at the positions that are simulated.

    Raises:
        StoreError: They are missing or damaged.
    """
    return _real(study.id, latent, collection(session, study))


def collection(session: Session, study: Study) -> int | None:
    """The first context of the calibrate set: another one after the study was collected anew."""
    return session.scalar(
        select(Context.id)
        .where(Context.study_id == study.id, Context.set == str(ContextSet.CALIBRATE))
        .order_by(Context.index)
        .limit(1)
    )


@lru_cache(maxsize=2)
def _calibrate(study_id: int, _: int | None) -> Calibrate:
    with new_session(reads=True) as session:
        study = session.get_one(Study, study_id)
        ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
        return Calibrate(strings, documents_of(session, ids))


@lru_cache(maxsize=256)
def _real(study_id: int, latent: int, _: int | None) -> Float[np.ndarray, "context position"]:
    with new_session(reads=True) as session:
        study = session.get_one(Study, study_id)
        real = real_activations(study, latent, ContextSet.CALIBRATE, study.contexts_calibrate)
        return real[:, study.first_position :].astype(np.float64)


def shown_examples(session: Session, latent: Latent, kinds: Sequence[str]) -> Shown:
    """The latent's examples of some kinds."""
    rows = session.execute(
        select(Context.id, Context.strings)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id, Example.kind.in_(kinds))
        .order_by(Example.kind, Example.rank)
    ).all()
    return Shown([row.id for row in rows], [row.strings for row in rows])
