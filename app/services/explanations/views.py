"""Scores, costs and versions as they are shown: with plain names, and with what they are worth."""

from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.services.explanations.compare import Compared, Side
from app.services.explanations.diff import Change, word_diff
from app.services.explanations.queries import Version, list_comments, list_scores
from app.services.explanations.schemas import (
    ChangeOut,
    ComparedExampleOut,
    ComparedOut,
    PairedOut,
    SideOut,
)
from app.services.latents.costs import list_costs
from app.services.latents.schemas import CostOut
from app.services.rows import columns
from app.services.schemas import ExplanationOut, ScoreOut
from app.services.simulators.queries import verdict
from models import Comment, Explanation, Study

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


class Entry(NamedTuple):
    """A version in the history of a latent's text."""

    number: int
    """1 for the first one."""
    version: Version
    parent: int | None
    """Number of the version it was written from; None if that is not in the history."""
    diff: tuple[Change, ...]
    """From that one to this; empty without one."""
    comments: list[Comment]


def history(session: Session, versions: list[Version]) -> list[Entry]:
    """Versions with what the page shows of each.

    Args:
        versions: All versions of a latent's text, newest first.
    """
    ids = [version.explanation.id for version in versions]
    comments = list_comments(session, [v.explanation.id for v in versions if v.comments])
    numbers = {number: len(ids) - place for place, number in enumerate(ids)}
    texts = {version.explanation.id: version.explanation.text for version in versions}
    entries = []
    for version in versions:
        explanation = version.explanation
        parent = explanation.parent_id if explanation.parent_id in texts else None
        entries.append(
            Entry(
                numbers[explanation.id],
                version,
                numbers[parent] if parent is not None else None,
                word_diff(texts[parent], explanation.text) if parent is not None else (),
                [comment for comment in comments if comment.explanation_id == explanation.id],
            )
        )
    return entries


def compared_out(session: Session, study: Study, compared: Compared) -> ComparedOut:
    """A comparison of two versions as JSON."""

    def side(one: Side) -> SideOut:
        return SideOut(
            explanation=ExplanationOut.model_validate(one.explanation),
            scores=scores_of(session, study, one.explanation),
            costs=costs_of(session, study, one.explanation),
            simulated=one.simulated,
        )

    return ComparedOut(
        a=side(compared.a),
        b=side(compared.b),
        diff=[ChangeOut.model_validate(change) for change in compared.diff],
        paired=PairedOut.model_validate(compared.paired) if compared.paired else None,
        examples=[ComparedExampleOut.model_validate(example) for example in compared.examples],
    )


def edit_context(
    session: Session,
    versions: list[Version],
    comment: dict[str, Any] | None,
    user: str,
) -> dict[str, Any]:
    """The context of the edit box and the history on a latent's page.

    Args:
        comment: A refused comment: explanation_id, text, error; None if there is none.
    """
    return {
        "history": history(session, versions),
        "comment": comment or {},
        "user": user,
        "score_names": SCORES,
    }
