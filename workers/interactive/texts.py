"""What the answers to drafts rest on, kept from one request to the next: it does not change."""

from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.explain.vocabulary import Vocabulary
from interp.vocabulary import ContextSet
from models import Context, Example, Study
from models.database import new_session
from workers.resources import real_activations
from workers.tasks.rows import context_strings, documents_of

Value = TypeVar("Value")


class Latest(OrderedDict[tuple[object, ...], Value]):
    """What was last kept or looked up, and no more than a number of it."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __getitem__(self, key: tuple[object, ...]) -> Value:
        self.move_to_end(key)
        return super().__getitem__(key)

    def __setitem__(self, key: tuple[object, ...], value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.most:
            del self[next(iter(self))]


class Calibrate(NamedTuple):
    """The calibrate set of a study."""

    strings: list[list[str]]
    documents: list[str]


class Shown(NamedTuple):
    """Examples of a latent."""

    ids: list[int]
    strings: list[list[str]]


def collection(session: Session, study: Study) -> int | None:
    """The first context of the calibrate set: another one after the study was collected anew."""
    return session.scalar(
        select(Context.id)
        .where(Context.study_id == study.id, Context.set == str(ContextSet.CALIBRATE))
        .order_by(Context.index)
        .limit(1)
    )


@lru_cache(maxsize=2)
def calibrate_set(study_id: int, collected: int | None) -> Calibrate:
    """The contexts that drafts are scored on.

    Args:
        collected: Which :func:`collection`.
    """
    with new_session(reads=True) as session:
        study = session.get_one(Study, study_id)
        ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
        return Calibrate(strings, documents_of(session, ids))


@lru_cache(maxsize=2)
def words_of_calibrate_set(study_id: int, collected: int | None) -> Vocabulary:
    """The words of these contexts.

    Args:
        collected: Which :func:`collection`.
    """
    with new_session(reads=True) as session:
        first = session.get_one(Study, study_id).first_position
    strings = calibrate_set(study_id, collected).strings
    return Vocabulary.of(strings, first_position=first)


@lru_cache(maxsize=256)
def real_values(
    study_id: int, latent: int, collected: int | None
) -> Float[np.ndarray, "context position"]:
    """A latent's real activations on the calibrate set, at the positions that are simulated.

    Args:
        collected: Which :func:`collection`.

    Raises:
        StoreError: They are missing or damaged.
    """
    with new_session(reads=True) as session:
        study = session.get_one(Study, study_id)
        real = real_activations(study, latent, ContextSet.CALIBRATE, study.contexts_calibrate)
        return real[:, study.first_position :].astype(np.float64)


@lru_cache(maxsize=256)
def shown_examples(latent_id: int, kinds: tuple[str, ...]) -> Shown:
    """The latent's examples of some kinds."""
    with new_session(reads=True) as session:
        rows = session.execute(
            select(Context.id, Context.strings)
            .join(Example, Example.context_id == Context.id)
            .where(Example.latent_id == latent_id, Example.kind.in_(kinds))
            .order_by(Example.kind, Example.rank)
        ).all()
    return Shown([row.id for row in rows], [row.strings for row in rows])
