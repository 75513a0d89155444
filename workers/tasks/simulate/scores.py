"""Calibrate a simulation on the calibrate set, and score it there."""

import numpy as np
from jaxtyping import Float
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.scoring import calibrate
from interp.scoring.scores import score
from interp.vocabulary import CalibrationMethod, ContextSet
from models import Calibration, Explanation, Latent, Score, Simulation, Study
from workers.resources import real_activations
from workers.tasks.rows import documents_of, fields

NAMES = ("correlation", "explained_variance", "sensitivity", "specificity", "f1", "auroc")
RANDOM_BASELINE = 8
"""The random baseline is the mean over so many explanations of other latents."""


def calibrate_and_score(
    session: Session, study: Study, latent: Latent, simulation: Simulation
) -> None:
    """Fit all calibrations of a calibrate-set simulation and score it.

    Each score comes with its random baseline: that of other latents' explanations for this one.
    """
    start = study.first_position
    real = real_activations(study, latent.index, ContextSet.CALIBRATE, len(simulation.context_ids))[
        :, start:
    ]
    raw = simulation.values[:, start:].astype(np.float64)
    if not np.isnan(raw).all():
        _calibrate(session, simulation, raw, real, latent.max_activation)
    documents = documents_of(session, simulation.context_ids)
    scores = score(raw, real, documents, seed=study.seed)
    others = [
        score(other[:, start:], real, documents, seed=study.seed, intervals=False)
        for other in _of_other_latents(session, study, simulation)
    ]
    for name in NAMES:
        value, low, high = fields(getattr(scores, name)).values()
        random_baseline = [getattr(other, name).value for other in others]
        defined = [one for one in random_baseline if np.isfinite(one)]
        session.add(
            Score(
                explanation_id=simulation.explanation_id,
                simulator_id=simulation.simulator_id,
                name=name,
                value=value,
                low=low,
                high=high,
                n=scores.tokens,
                details={
                    "active": scores.active,
                    "random_baseline": float(np.mean(defined)) if defined else None,
                    "random_baseline_of": len(defined),
                },
            )
        )


def _calibrate(
    session: Session,
    simulation: Simulation,
    raw: Float[np.ndarray, "context position"],
    real: Float[np.ndarray, "context position"],
    maximum: float,
) -> None:
    for method in CalibrationMethod:
        fitted = calibrate.fit(method, raw.ravel(), real.ravel(), maximum=maximum)
        session.add(
            Calibration(
                simulation_id=simulation.id,
                method=str(method),
                x=fitted.x.tolist(),
                y=fitted.y.tolist(),
                tokens=int((~np.isnan(raw)).sum()),
            )
        )


def _of_other_latents(
    session: Session, study: Study, simulation: Simulation
) -> list[Float[np.ndarray, "context seq"]]:
    """Simulations of other latents' explanations by the same simulator, on the same contexts.

    The seed and the explanation fix a random draw of them, as far as they are there.
    """
    others = session.scalars(
        select(Simulation.id)
        .join(Explanation, Explanation.id == Simulation.explanation_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(
            Latent.study_id == study.id,
            Explanation.latent_id
            != select(Explanation.latent_id)
            .where(Explanation.id == simulation.explanation_id)
            .scalar_subquery(),
            Simulation.simulator_id == simulation.simulator_id,
            Simulation.set == str(ContextSet.CALIBRATE),
            Simulation.context_ids == simulation.context_ids,
        )
        .order_by(Simulation.id)
    ).all()
    rng = np.random.default_rng([study.seed, simulation.explanation_id])
    chosen = rng.permutation(others)[:RANDOM_BASELINE].tolist()
    rows = session.scalars(select(Simulation.values).where(Simulation.id.in_(chosen)))
    return [values.astype(np.float64) for values in rows]
