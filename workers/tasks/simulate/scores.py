"""Calibrate simulations on the calibrate set, and score them there."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.scoring.calibrate import fit_sorted
from interp.scoring.scores import Contexts, Ranked, Scores, score_block
from interp.vocabulary import CalibrationMethod, ContextSet
from models import Calibration, Explanation, Latent, Score, Simulation, Study
from models.base import among
from workers.copying import copy_in
from workers.pause import pause
from workers.resources import real_activations
from workers.tasks.rows import documents_of, fields, finite

NAMES = ("correlation", "explained_variance", "sensitivity", "specificity", "f1", "auroc")
RANDOM_BASELINE = 8
"""The random baseline is the mean over so many explanations of other latents."""
POOL = 32
"""They are drawn from so many, the same for all latents: sorting simulations takes longest."""

Values = Float[np.ndarray, "context position"]


class _Scored(NamedTuple):
    """A simulation with what it is scored against."""

    latent: Latent
    simulation: Simulation
    ranked: Ranked
    real: Values


class Block(NamedTuple):
    """Simulations of the calibrate set, all of the same contexts, with the real activations."""

    study: Study
    contexts: Contexts
    scored: Sequence[_Scored]

    @classmethod
    def of(
        cls,
        session: Session,
        study: Study,
        latents: Sequence[Latent],
        simulations: Sequence[Simulation],
    ) -> Self:
        """Read what they are scored against.

        Args:
            latents: The latent of each simulation.
        """
        ids = simulations[0].context_ids
        contexts = Contexts.of(documents_of(session, ids), seed=study.seed)
        scored = [
            _Scored(
                latent,
                simulation,
                _ranked(study, contexts, simulation.values),
                real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids))[
                    :, study.first_position :
                ],
            )
            for latent, simulation in zip(latents, simulations, strict=True)
        ]
        return cls(study, contexts, scored)


def _ranked(study: Study, contexts: Contexts, values: Values) -> Ranked:
    return Ranked(values[:, study.first_position :].astype(np.float64), contexts)


def calibrate(session: Session, block: Block) -> None:
    """Fit all calibrations of some simulations."""
    copy_in(session, [row for one in block.scored for row in _calibrations(one)])


def score(session: Session, block: Block) -> None:
    """Score some simulations.

    Each score comes with its random baseline: that of other latents' explanations for this one.
    """
    pool = _pool(session, block)
    scores = score_block([one.ranked for one in block.scored], [one.real for one in block.scored])
    rows = []
    for one, found in zip(block.scored, scores, strict=True):
        pause()
        rng = np.random.default_rng([block.study.seed, one.simulation.explanation_id])
        others = [other for other in pool if other.latent_id != one.latent.id]
        drawn = rng.permutation(len(others))[:RANDOM_BASELINE]
        baseline = np.array([others[i].ranked.figures(one.real) for i in drawn])
        rows += _scores(one.simulation, found, baseline.reshape(-1, len(NAMES)))
    copy_in(session, rows)


def _calibrations(one: _Scored) -> list[Calibration]:
    """A simulation's calibrations, or none where every value is missing."""
    values = one.ranked.whole
    if not len(values.tokens):
        return []
    rows = []
    for method in CalibrationMethod:
        fitted = fit_sorted(method, values, one.real.ravel(), maximum=one.latent.max_activation)
        rows.append(
            Calibration(
                simulation_id=one.simulation.id,
                method=str(method),
                x=fitted.x.tolist(),
                y=fitted.y.tolist(),
                tokens=len(values.tokens),
            )
        )
    return rows


def _scores(
    simulation: Simulation, scores: Scores, baseline: Float[np.ndarray, "other score"]
) -> list[Score]:
    rows = []
    for name, of_others in zip(NAMES, baseline.T, strict=True):
        value, low, high = fields(getattr(scores, name)).values()
        defined = of_others[np.isfinite(of_others)]
        rows.append(
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
                    "random_baseline": finite(float(defined.mean())) if len(defined) else None,
                    "random_baseline_of": len(defined),
                },
            )
        )
    return rows


class _Other(NamedTuple):
    """A simulation that the random baselines of other latents are drawn from."""

    latent_id: int
    ranked: Ranked


_pooled: dict[int, _Other] = {}
"""The last pool, by simulation."""


def _pool(session: Session, block: Block) -> Sequence[_Other]:
    """Simulations of a study by one simulator on the same contexts. The seed draws them, as far as
    they are there."""
    study, like = block.study, block.scored[0].simulation
    order = func.md5(func.concat(study.seed, " ", Simulation.explanation_id))
    wanted = session.execute(
        select(Simulation.id, Explanation.latent_id)
        .join(Explanation, Explanation.id == Simulation.explanation_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(
            Latent.study_id == study.id,
            Simulation.simulator_id == like.simulator_id,
            Simulation.set == str(ContextSet.CALIBRATE),
            Simulation.context_ids == like.context_ids,
        )
        .order_by(order, Simulation.id)
        .limit(POOL)
    ).all()
    known = {row.id: _pooled[row.id] for row in wanted if row.id in _pooled}
    latents = {row.id: row.latent_id for row in wanted if row.id not in known}
    stored = session.execute(
        select(Simulation.id, Simulation.values).where(among(Simulation.id, list(latents)))
    )
    for row in stored:
        known[row.id] = _Other(latents[row.id], _ranked(study, block.contexts, row.values))
    _pooled.clear()
    _pooled.update(known)
    return [known[row.id] for row in wanted]
