"""All versions of a latent's text, and what each reached."""

from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, func, select
from sqlalchemy.orm import Session

from app.services.explanations.comments import list_comments
from app.services.explanations.diff import Change, word_diff
from app.services.explanations.scores import OF_SIMULATOR, in_order
from app.services.latents.loss_effects import loss_effects_by_explanation
from models import Comment, Explanation, Latent, LossEffect, Score, Simulation, Study

# Statements of every latent's page are put together once: that takes as long as running them.
_MISSING = select(func.sum(Simulation.missing)).where(
    Simulation.explanation_id == Explanation.id,
    Simulation.simulator_id == bindparam("simulator"),
)
_VERSIONS = (
    select(
        Explanation,
        Score,
        exists().where(Comment.explanation_id == Explanation.id),
        func.coalesce(_MISSING.scalar_subquery(), 0),
    )
    .outerjoin(Score, and_(Score.explanation_id == Explanation.id, OF_SIMULATOR))
    .where(Explanation.latent_id == bindparam("latent"))
    .order_by(Explanation.id.desc(), Score.id)
)


class Version(NamedTuple):
    """One version of a latent's text, with what it reached under the study's simulator."""

    explanation: Explanation
    scores: list[Score]
    """As :func:`.scores.list_scores` gives them."""
    loss_effects: list[LossEffect]
    """Rewritten alone, isotonic; of the shown version all."""
    comments: bool
    """Whether anybody said something of it."""
    missing: int
    """Simulated values that are missing."""

    @property
    def correlation(self) -> Score | None:
        return next((score for score in self.scores if score.name == "correlation"), None)

    @property
    def loss_effect(self) -> LossEffect | None:
        """Rewritten alone, isotonic."""
        return next(
            (effect for effect in self.loss_effects if effect.calibration == "isotonic"), None
        )


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


def list_versions(
    session: Session, study: Study, latent: Latent, shown: int | None = None
) -> list[Version]:
    """All versions of a latent's text, newest first.

    Args:
        shown: The explanation of which all loss effects are given.
    """
    values = {"latent": latent.id, "simulator": study.simulator_id}
    found = list(session.execute(_VERSIONS, values))
    effects = loss_effects_by_explanation(session, study, {one.id for one, *_ in found}, shown)
    versions = []
    for one, group in groupby(found, key=itemgetter(0)):
        rows = list(group)
        scores = in_order(score for _, score, *_ in rows if score)
        versions.append(Version(one, scores, effects[one.id], *rows[0][2:]))
    return versions


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
