"""The explanation that a latent's page shows, with what it reached in one line."""

from typing import Any, NamedTuple

from app.web.latent.opened import Opened
from interp.exchange.registry import ORIGINS
from models import Explanation, LossEffect, Score


class OriginScores(NamedTuple):
    """What another tool has measured of an explanation that it wrote. No score of ours."""

    origin: str
    """As the tool writes its name."""
    scores: dict[str, dict[str, Any]]
    """By name: the ``value`` and the number ``n`` that it rests on, or ``why`` there is none."""


class ShownExplanation(NamedTuple):
    """The explanation that is shown."""

    shown: Explanation | None
    dead: bool
    """True if the latent never fires, so that there is nothing to explain."""
    current_page: str | None
    """The page of the current explanation, if this is an earlier one."""
    correlation: Score | None
    loss_effect: LossEffect | None
    """Rewritten alone, isotonic."""
    origin_scores: OriginScores | None


def explanation(opened: Opened) -> ShownExplanation:
    """The explanation that is shown."""
    reached = opened.reached
    return ShownExplanation(
        opened.shown,
        opened.latent.firing_rate == 0,
        opened.here.to() if opened.old else None,
        reached.correlation if reached else None,
        reached.loss_effect if reached else None,
        _origin_scores(opened.shown),
    )


def _origin_scores(shown: Explanation | None) -> OriginScores | None:
    details = shown.details if shown else {}
    origin = ORIGINS.get(details.get("origin", ""))
    scores = details.get("scores")
    return OriginScores(origin.label, scores) if origin and scores else None
