"""Estimates of loss effects, made row by row through the models."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import Linearisation
from models import Attribution, Context, EstimatedEffect, Latent, LossEffect, Study


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
