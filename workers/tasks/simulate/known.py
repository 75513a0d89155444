"""What is known of a latent's loss effect before anybody writes a text for it."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import Breadth, Condition, ContextSet, Protocol
from models import Explanation, Latent, LossEffect, Rewrite, RewritePoint, Simulation, Study
from workers.version import code_version

Losses = Float[np.ndarray, " context"]
"""Of the contexts of the evaluate set. NaN where unknown."""

KEPT = 64
"""Latents whose losses are kept."""

_real: dict[int, Losses] = {}
_zeroed: OrderedDict[int, Losses] = OrderedDict()


def real_losses(session: Session, study: Study, ids: Sequence[int]) -> Losses:
    """The losses with all latents real: what every edit is compared with, and what none changes.

    The first ones are from the study's newest rewrite. Whoever measures more adds them.

    Args:
        ids: The contexts of the evaluate set.
    """
    if study.id not in _real:
        losses = np.full(len(ids), np.nan)
        row = session.execute(
            select(Rewrite.context_ids, RewritePoint.losses)
            .join(RewritePoint, RewritePoint.rewrite_id == Rewrite.id)
            .where(
                Rewrite.study_id == study.id,
                Rewrite.protocol == str(Protocol.WHOLE),
                Rewrite.code_version == code_version(),
                RewritePoint.condition == str(Condition.REAL_LATENTS),
                RewritePoint.breadth == str(Breadth.PANEL),
            )
            .order_by(Rewrite.id.desc())
            .limit(1)
        ).first()
        if row is not None:
            losses[_rows(ids, row.context_ids)] = row.losses
        _real[study.id] = losses
    return _real[study.id]


def zeroed_losses(session: Session, latent: Latent, real: Losses, ids: Sequence[int]) -> Losses:
    """The losses with the latent zeroed wherever it is spliced.

    The first ones are from another explanation of the latent. Whoever measures more adds them.
    """
    if latent.id not in _zeroed:
        losses = np.full(len(ids), np.nan)
        row = session.execute(
            select(LossEffect.context_ids, LossEffect.differences)
            .join(Explanation, Explanation.id == LossEffect.explanation_id)
            .join(
                Simulation,
                (Simulation.explanation_id == LossEffect.explanation_id)
                & (Simulation.simulator_id == LossEffect.simulator_id),
            )
            .where(
                Explanation.latent_id == latent.id,
                LossEffect.condition == "zeroed",
                Simulation.set == str(ContextSet.EVALUATE),
                # Where a value is missing, the latent is not zeroed.
                Simulation.missing == 0,
                Simulation.code_version == code_version(),
            )
            .order_by(LossEffect.id.desc())
            .limit(1)
        ).first()
        if row is not None:
            rows = _rows(ids, row.context_ids)
            losses[rows] = real[rows] + np.array(row.differences)
        _zeroed[latent.id] = losses
        while len(_zeroed) > KEPT:
            _zeroed.popitem(last=False)
    return _zeroed[latent.id]


def _rows(ids: Sequence[int], some: Sequence[int]) -> list[int]:
    """Where some of the contexts stand among all."""
    place = {context_id: row for row, context_id in enumerate(ids)}
    return [place[one] for one in some]
