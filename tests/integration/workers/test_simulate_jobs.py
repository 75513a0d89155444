"""Simulate jobs: what is measured of an explanation, and what is not."""

import numpy as np
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Explanation, Latent, LossEffect, Simulation, Simulator, Study
from tests.factories import little_study
from tests.reading import current_of
from workers.tasks.rewrite.orderings import _ordered
from workers.tasks.simulate.steps import Block, measure_loss_effects


@pytest.fixture
def study(db: Session) -> Study:
    """Made up of a few rows."""
    return little_study(db)


def test_values_that_are_all_missing_have_no_loss_effect(db: Session, study: Study) -> None:
    """The latent would stay real everywhere; a loss effect of 0 would praise its explanation."""
    explanation: Explanation = current_of(db, study, 0)
    latent = db.get_one(Latent, explanation.latent_id)
    db.execute(delete(LossEffect).where(LossEffect.explanation_id == explanation.id))
    simulation = db.scalars(
        select(Simulation).filter_by(explanation_id=explanation.id, set="evaluate")
    ).one()
    simulation.values = np.full_like(simulation.values, np.nan)
    db.commit()
    simulator = db.get_one(Simulator, study.simulator_id)
    measure_loss_effects(db, study, simulator, Block([explanation], [latent]))
    assert db.scalar(select(LossEffect.id).filter_by(explanation_id=explanation.id)) is None


@pytest.mark.parametrize("name", ["calibrate", "evaluate"])
def test_values_that_are_all_missing_leave_the_order_by_effect(
    db: Session, study: Study, name: str
) -> None:
    """Nothing of the explanation is rewritten, so it comes last; the other has its place."""
    assert study.simulator_id is not None
    first, second = _ordered(db, study, study.simulator_id, "")["score"]
    db.execute(delete(LossEffect).where(LossEffect.explanation_id == first))
    db.commit()
    # It has values, so its loss effect has yet to be measured.
    assert "effect" not in _ordered(db, study, study.simulator_id, "")
    simulation = db.scalars(select(Simulation).filter_by(explanation_id=first, set=name)).one()
    simulation.values = np.full_like(simulation.values, np.nan)
    simulation.missing = simulation.values[:, 1:].size
    db.commit()
    orderings = _ordered(db, study, study.simulator_id, "")
    assert orderings["score"] == [first, second]
    assert orderings["effect"] == [second, first]
