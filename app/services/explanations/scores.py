"""Scores of explanations: how well each predicts the activations of its latent."""

from collections.abc import Iterable

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from app.services.rows import columns
from app.services.schemas import ScoreOut
from app.services.simulators.independence import independence_of
from models import Explanation, Score, Study

SCORES = {
    "correlation": ("correlation", "Pearson correlation of simulated with real activation"),
    "explained_variance": (
        "explained variance",
        "Share of the real activation's variance that the calibrated simulation explains",
    ),
    "sensitivity": (
        "sensitivity",
        "Of the tokens where it is active, the share where it is predicted active",
    ),
    "specificity": (
        "specificity",
        "Of the tokens where it is silent, the share where it is predicted silent",
    ),
    "f1": (
        "F1",
        "Harmonic mean of sensitivity and of the share of tokens predicted active that are",
    ),
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
"""Plain name and meaning of each score, in the order in which they are shown. All are 1 at best."""

OF_SIMULATOR = or_(Score.simulator_id == bindparam("simulator"), Score.simulator_id.is_(None))
"""Scores under a simulator, and by language models, which need none."""
# Put together once: that takes as long as running it.
_SCORES = (
    select(Score)
    .where(Score.explanation_id == bindparam("explanation"), OF_SIMULATOR)
    .order_by(Score.id)
)


def list_scores(session: Session, study: Study, explanation: Explanation) -> list[Score]:
    """Scores of an explanation under the study's simulator, and the newest by language
    models, in their usual order."""
    values = {"explanation": explanation.id, "simulator": study.simulator_id}
    return in_order(session.scalars(_SCORES, values))


def in_order(scores: Iterable[Score]) -> list[Score]:
    """The newest of each name, in their usual order.

    Args:
        scores: Of one explanation, oldest first.
    """
    newest = {score.name: score for score in scores}
    return [newest[name] for name in SCORES if name in newest]


def is_simulated(scores: list[Score]) -> bool:
    """Whether an explanation with these scores is simulated: some are of a simulation."""
    return any(score.simulator_id is not None for score in scores)


def scores_of(session: Session, study: Study, explanation: Explanation) -> list[ScoreOut]:
    """Scores of an explanation under the study's simulator."""
    independence = independence_of(session, study, study.simulator_id)
    return [
        ScoreOut.model_validate(
            {
                **columns(score),
                "independence": independence if score.simulator_id is not None else None,
            }
        )
        for score in list_scores(session, study, explanation)
    ]
