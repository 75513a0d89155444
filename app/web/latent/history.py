"""The history of a latent's text, and what people said of each version."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.explanations import history as versions
from app.services.explanations.diff import Change
from app.web.latent.opened import Opened
from app.web.latents.within import Here
from app.web.roles import may
from interp.vocabulary import Role, ScoreName
from models import Comment, Explanation, LossEffect, Score


class Remark(NamedTuple):
    """A comment that somebody sent, and that was refused."""

    explanation_id: int
    text: str
    error: str


class Past(NamedTuple):
    """One version in the history."""

    number: int
    """1 for the first one."""
    explanation: Explanation
    diff: tuple[Change, ...]
    """From the version it was written from. Empty without one."""
    written_from: int | None
    """Number of that version, where it is not the one before."""
    is_current: bool
    is_shown: bool
    correlation: Score | None
    loss_effect: LossEffect | None
    scores: list[tuple[str, Score]]
    """Each with its plain name."""
    links: list[tuple[str, str]]
    """Words and address of each link."""
    comments: list[Comment]
    refused: Remark | None


class History(NamedTuple):
    """All versions, newest first."""

    entries: list[Past]
    here: Here
    user: str
    """The person who asks. People may delete their own comments."""


def history(session: Session, opened: Opened, user: str, remark: Remark | None) -> History:
    """The history of a latent's text.

    Args:
        remark: A refused comment, to be shown again where it was written.
    """
    entries = [_past(opened, entry, remark) for entry in versions.history(session, opened.versions)]
    return History(entries, opened.here, user)


def _past(opened: Opened, entry: versions.Entry, remark: Remark | None) -> Past:
    explanation, current = entry.version.explanation, opened.current
    is_current = explanation is current
    is_shown = explanation is opened.shown
    here = opened.here
    links = []
    if not is_shown:
        page = here.to(version=None if is_current else explanation.id)
        links.append(("show its simulation", page))
    if not is_current:
        if may(Role.EDITOR):
            links.append(("restore", here.to(restore=explanation.id) + "#edit"))
        if current:
            compare = here.to("compare", a=explanation.id, b=current.id)
            links.append(("compare with the current", compare))
    elif explanation.parent_id:
        compare = here.to("compare", a=explanation.parent_id, b=explanation.id)
        links.append(("compare with the one before", compare))
    return Past(
        entry.number,
        explanation,
        entry.diff,
        entry.parent if entry.parent != entry.number - 1 else None,
        is_current,
        is_shown,
        entry.version.correlation,
        entry.version.loss_effect,
        [(ScoreName(one.name).label, one) for one in entry.version.scores],
        links,
        entry.comments,
        remark if remark and remark.explanation_id == explanation.id else None,
    )
