"""The explanation that a latent's page shows, with what it reached in one line."""

from typing import NamedTuple

from app.web.latent.opened import Opened
from models import Explanation, LossEffect, Score


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


def explanation(opened: Opened) -> ShownExplanation:
    """The explanation that is shown."""
    reached = opened.reached
    return ShownExplanation(
        opened.shown,
        opened.latent.firing_rate == 0,
        opened.here.to() if opened.old else None,
        reached.correlation if reached else None,
        reached.loss_effect if reached else None,
    )
