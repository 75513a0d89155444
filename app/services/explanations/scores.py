"""Scores of explanations: how well each predicts the activations of its latent."""

from collections.abc import Iterable

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from app.services.rows import columns
from app.services.schemas import ScoreOut
from app.services.simulators.independence import independence_of
from interp.vocabulary import ScoreName
from models import Explanation, Score, Study

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
    return [newest[name] for name in ScoreName if name in newest]


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
