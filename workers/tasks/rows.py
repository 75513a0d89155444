"""Rows of the tables as the engine wants them, and back."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sqlalchemy import Row, select
from sqlalchemy.orm import Session
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interp.corpus.text import TokenTexts
from interp.scoring.calibrate import CalibrationMap
from interp.scoring.statistics import Comparison, Estimate
from interp.vocabulary import ContextSet
from models import Calibration, Context, Simulation, Study


def context_tokens(
    session: Session, study: Study, context_set: ContextSet
) -> tuple[list[int], Tensor]:
    """Ids of a set's contexts, in order, and their tokens, shape (context, seq)."""
    rows = session.execute(
        select(Context.id, Context.tokens)
        .where(Context.study_id == study.id, Context.set == str(context_set))
        .order_by(Context.index)
    ).all()
    return [row.id for row in rows], torch.tensor([row.tokens for row in rows])


def documents_of(session: Session, context_ids: list[int]) -> list[str]:
    """The document of each context: contexts of one are not independent."""
    rows = session.execute(select(Context.id, Context.document).where(Context.id.in_(context_ids)))
    documents = {row.id: row.document for row in rows}
    return [documents[i] for i in context_ids]


def context_strings(
    session: Session, study: Study, context_set: ContextSet
) -> tuple[list[int], list[list[str]]]:
    """Ids of a set's contexts, in order, and the text of each token."""
    rows = session.execute(
        select(Context.id, Context.strings)
        .where(Context.study_id == study.id, Context.set == str(context_set))
        .order_by(Context.index)
    ).all()
    return [row.id for row in rows], [row.strings for row in rows]


@lru_cache(maxsize=4)
def _texts_of(tokenizer: PreTrainedTokenizerBase) -> TokenTexts:
    return TokenTexts(tokenizer)


def token_texts(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[str]:
    """The texts of a sequence's tokens, which join to its text, as PostgreSQL can store them."""
    return [_storable(text) for text in _texts_of(tokenizer)(tokens)]


def token_alone(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of a token out of its place, as PostgreSQL can store it."""
    return _storable(_texts_of(tokenizer).alone(token))


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd")  # PostgreSQL takes no zero characters


def values_on(
    simulation: Simulation | Row[*tuple[Any, ...]], context_ids: list[int]
) -> Float[np.ndarray, "context seq"]:
    """A simulation's raw values on some of its contexts, in their order. NaN where missing."""
    place = {context_id: row for row, context_id in enumerate(simulation.context_ids)}
    values: Float[np.ndarray, "context seq"] = simulation.values
    return values[[place[i] for i in context_ids]]


def calibrations_of(
    session: Session, explanation_ids: Sequence[int], simulator_id: int
) -> dict[int, dict[str, CalibrationMap]]:
    """The maps fitted for each explanation, by method. None where every value was missing."""
    rows = session.execute(
        select(Simulation.explanation_id, Calibration.method, Calibration.x, Calibration.y)
        .join(Calibration, Calibration.simulation_id == Simulation.id)
        .where(
            Simulation.explanation_id.in_(explanation_ids),
            Simulation.simulator_id == simulator_id,
            Simulation.set == str(ContextSet.CALIBRATE),
        )
    )
    found: dict[int, dict[str, CalibrationMap]] = {i: {} for i in explanation_ids}
    for row in rows:
        found[row.explanation_id][row.method] = CalibrationMap(np.array(row.x), np.array(row.y))
    return found


def finite(value: float) -> float | None:
    """Numbers for JSON: one that is not defined (NaN) or not finite becomes null."""
    return value if np.isfinite(value) else None


def fields(figures: Comparison | Estimate) -> dict[str, float | None]:
    """Figures as JSON, see :func:`finite`."""
    return {name: finite(value) for name, value in figures._asdict().items()}
