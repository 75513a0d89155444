"""Simulators compared with the one that a study uses, by the latents that both have simulated."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from interp.scoring.statistics import Estimate
from interp.vocabulary import ScoreName
from models import Latent, Score, Study

LEVEL = 0.95


class Compared(NamedTuple):
    """Correlations of a simulator beside those of the one in use, on the same explanations."""

    latents: int
    """Latents with a correlation from both."""
    mean: float
    """Mean correlation of the simulator."""
    mean_used: float
    """Mean correlation of the one in use."""
    difference: Estimate
    """Mean of the paired differences, with Student's interval over latents. NaN bounds for one
    latent."""


def compared(session: Session, study: Study) -> dict[int, Compared]:
    """Other simulators than the study's own that scored current explanations too, by their ids."""
    other, own = aliased(Score), aliased(Score)
    difference = other.value - own.value
    rows = session.execute(
        select(
            other.simulator_id,
            func.count(),
            func.avg(other.value),
            func.avg(own.value),
            func.avg(difference),
            func.stddev_samp(difference),
        )
        .join(own, own.explanation_id == other.explanation_id)
        .join(Latent, Latent.explanation_id == other.explanation_id)
        .where(
            Latent.study_id == study.id,
            own.simulator_id == study.simulator_id,
            other.simulator_id != study.simulator_id,
            own.name == str(ScoreName.CORRELATION),
            other.name == str(ScoreName.CORRELATION),
            difference.is_not(None),
        )
        .group_by(other.simulator_id)
    )
    return {
        simulator_id: Compared(count, mean, used, _interval(count, by, deviation))
        for simulator_id, count, mean, used, by, deviation in rows
    }


def _interval(count: int, mean: float, deviation: float | None) -> Estimate:
    if deviation is None:
        return Estimate(mean, np.nan, np.nan)
    margin = stats.t.ppf((1 + LEVEL) / 2, count - 1) * deviation / np.sqrt(count)
    return Estimate(mean, mean - margin, mean + margin)
