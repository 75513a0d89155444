"""Rows of the tables as the engine wants them, and back."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interp.contexts import ContextSet
from interp.statistics import Comparison, Estimate
from models import Context, Study


def first_position(study: Study) -> int:
    """The first position that is analysed: not the beginning-of-sequence token."""
    return 1 if study.prepend_bos else 0


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


def token_texts(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], str]:
    """The text of a token, as PostgreSQL can store it: it takes no zero characters."""
    return cache(lambda token: str(tokenizer.decode([token])).replace("\0", "\ufffd"))


def to_nullable(values: NDArray[np.floating]) -> list[list[float | None]]:
    """NaN becomes NULL: a missing value is never a number."""
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


def from_nullable(values: list[list[float | None]]) -> NDArray[np.float64]:
    """NULL becomes NaN."""
    return np.array(values, dtype=np.float64)


def fields(figures: Comparison | Estimate) -> dict[str, float | None]:
    """Figures as JSON: what is not defined (NaN) or not finite becomes null."""
    return {k: v if np.isfinite(v) else None for k, v in figures._asdict().items()}
