"""Estimates of loss effects, made row by row through the models."""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import BudgetSplit, LatentKind, Linearisation, PredictionError
from models import (
    Attribution,
    BudgetEntry,
    Context,
    EstimatedEffect,
    Latent,
    LossEffect,
    Study,
)


def attribution(session: Session, study: Study, latents: list[Latent]) -> Attribution:
    """Estimates of the loss effects of some latents: twice the exact ones, and 0.001 for each that
    has none; at other points of linearisation the same with another sign."""
    contexts = session.scalars(
        select(Context).filter_by(study_id=study.id).order_by(Context.index)
    ).all()
    row = Attribution(
        study_id=study.id,
        simulator_id=study.simulator_id,
        explanation_ids=[latent.explanation_id for latent in latents],
        context_ids=[context.id for context in contexts],
        seed=0,
        finished=True,
        code_version="test",
    )
    session.add(row)
    session.flush()
    for latent in latents:
        exact = session.scalar(
            select(LossEffect.mean).filter_by(
                explanation_id=latent.explanation_id, condition="rewritten", calibration="isotonic"
            )
        )
        for point in Linearisation:
            sign = 1 if point is Linearisation.REAL_LATENTS else -1
            mean = sign * (2 * exact if exact is not None else 0.001)
            session.add(
                EstimatedEffect(
                    attribution_id=row.id,
                    explanation_id=latent.explanation_id,
                    point=str(point),
                    effects=[mean] * len(contexts),
                    mean=mean,
                    low=mean - 0.0015,
                    high=mean + 0.0015,
                )
            )
    session.flush()
    return row


PARTS = {
    PredictionError.MISSED: 0.001,
    PredictionError.FALSE_POSITIVE: 0.006,
    PredictionError.WRONG_SIZE: 0.004,
    PredictionError.BACKGROUND: -0.001,
}
"""In nats: the errors of an error budget, 0.01 together."""


def error_budget(session: Session, row: Attribution, *, exact: float = 0.011) -> None:
    """An error budget of known parts: rare latents have a fifth of each, and phrases all.

    Args:
        exact: The exact loss increase of each context, in nats.
    """
    row.increases = [exact] * len(row.context_ids)
    latents = len(row.explanation_ids)
    groups = [
        (BudgetSplit.LAYER, "", latents, 1.0),
        (BudgetSplit.FIRING_RATE, "below 0.01%", 1, 0.2),
        (BudgetSplit.FIRING_RATE, "1% or more", latents - 1, 0.8),
        (BudgetSplit.CALIBRATE_TOKENS, "1 to 9", latents, 1.0),
        (BudgetSplit.KIND, str(LatentKind.PHRASE), latents, 1.0),
    ]
    whole = sum(PARTS.values())
    entries = [
        (split, group, error, size, part * mean)
        for split, group, size, part in groups
        for error, mean in {"": whole, **PARTS}.items()
    ]
    spread = np.linspace(0.9, 1.1, len(row.context_ids))
    for place, (split, group, error, size, mean) in enumerate(entries):
        share = mean / whole
        session.add(
            BudgetEntry(
                attribution_id=row.id,
                place=place,
                split=str(split),
                group=group,
                error=str(error),
                latents=size,
                effects=(mean * spread).tolist(),
                mean=mean,
                low=mean - 0.0005,
                high=mean + 0.0005,
                share=share,
                share_low=share - 0.05,
                share_high=share + 0.05,
            )
        )
    session.flush()
