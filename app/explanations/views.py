"""Scores and costs as they are shown: with plain names, and with what they are worth."""

from sqlalchemy.orm import Session

from app.database import columns
from app.explanations.queries import list_scores
from app.explanations.schemas import ScoreOut
from app.latents.queries import list_costs
from app.latents.schemas import CostOut
from app.simulators.queries import verdict
from models import Explanation, Study

SCORES = {
    "correlation": ("correlation", "Pearson correlation of simulated with real activation"),
    "explained_variance": (
        "explained variance",
        "Share of the real activation's variance that the calibrated simulation explains",
    ),
    "sensitivity": (
        "sensitivity",
        "Of the tokens where it is active, the share where it is said to be",
    ),
    "specificity": (
        "specificity",
        "Of the tokens where it is silent, the share where it is said to be",
    ),
    "f1": ("F1", "Harmonic mean of sensitivity and of the share of said tokens that are active"),
    "auroc": (
        "AUROC",
        "How often an active token is simulated higher than a silent one; 0.5 is chance",
    ),
    "detection": (
        "detection",
        "How well a language model tells contexts where it is active from others; 0.5 is chance",
    ),
    "fuzzing": (
        "fuzzing",
        "How well a language model tells its active tokens from others marked alike; 0.5 is chance",
    ),
}
"""Plain name and meaning of each score. All are 1 at best."""


def scores_of(session: Session, study: Study, explanation: Explanation) -> list[ScoreOut]:
    """Scores of an explanation under the study's simulator."""
    worth = verdict(session, study, study.simulator_id)
    return [
        ScoreOut.model_validate(
            {**columns(score), "cleanliness": worth if score.simulator_id is not None else None}
        )
        for score in list_scores(session, study, explanation)
    ]


def costs_of(session: Session, study: Study, explanation: Explanation) -> list[CostOut]:
    """Costs of an explanation under the study's simulator."""
    worth = verdict(session, study, study.simulator_id)
    return [
        CostOut.model_validate({**columns(cost), "cleanliness": worth})
        for cost in list_costs(session, study, explanation)
    ]
