"""Simulate jobs: what is measured of an explanation, and what is not."""

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Explanation, Latent, LatentCost, Simulation, Simulator, Study
from tests.reading import current_of
from workers.tasks.simulate import Block, _costs


def test_values_that_are_all_missing_have_no_cost(db: Session, study: Study) -> None:
    """The latent would stay real everywhere, and a cost of 0 would say that its wording is good."""
    explanation: Explanation = current_of(db, study, 0)
    latent = db.get_one(Latent, explanation.latent_id)
    db.execute(delete(LatentCost).where(LatentCost.explanation_id == explanation.id))
    simulation = db.scalars(
        select(Simulation).filter_by(explanation_id=explanation.id, set="evaluate")
    ).one()
    simulation.values = np.full_like(simulation.values, np.nan)
    db.commit()
    simulator = db.get_one(Simulator, study.simulator_id)
    assert _costs(db, study, simulator, Block([explanation], [latent])) is None
    assert db.scalar(select(LatentCost.id).filter_by(explanation_id=explanation.id)) is None
