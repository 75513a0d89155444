"""The edit box of a latent's page."""

from typing import NamedTuple

from app.services.explanations.diff import Change
from app.services.explanations.drafts import is_instant
from app.web.latent.opened import Opened
from app.web.latents.within import Here
from interp.cleaning import MAX_LENGTH
from models import Explanation


class Draft(NamedTuple):
    """A text that somebody has sent, or wants to begin with. Empty where all is as it was."""

    text: str | None = None
    parent_id: int | None = None
    """The version it was written from."""
    error: str = ""
    """Why it was refused."""
    saved: Explanation | None = None
    """The version that it became just now."""


class Edit(NamedTuple):
    """The edit box."""

    id: str
    """Of the latent, for what the browser keeps of a text that was not saved."""
    event: str
    """The event that somebody else has changed this latent."""
    here: Here
    text: str
    parent_id: int | None
    error: str
    saved: Explanation | None
    between: list[Explanation]
    """Versions that others saved between the one this was written from and the saved one."""
    most: int
    """Characters that a text may have."""
    errors_page: str | None
    """The worst errors of the shown version, or None where there is none to look at."""
    earlier: bool
    """True if the shown version is an earlier one."""
    draft: str | None
    """The address that simulates the text in the box. None where the study has no simulator."""
    instant: bool
    """True if the simulator is quick enough to answer while somebody types."""


class Others(NamedTuple):
    """The versions saved while somebody writes."""

    newer: list[Explanation]
    """After the version they write from, newest first."""
    diff: tuple[Change, ...]
    """From that version to the newest. Empty where it has none."""


def edit(opened: Opened, draft: Draft) -> Edit:
    """The edit box, with the current text or what somebody sent."""
    current, saved = opened.current, draft.saved
    fresh = draft.text is None
    return Edit(
        f"{opened.study.slug}/{opened.latent.index}",
        f"sse:latent-{opened.latent.id}, sse:latents, sse:refresh",
        opened.here,
        (current.text if current else "") if draft.text is None else draft.text,
        (current.id if current else None) if fresh else draft.parent_id,
        draft.error,
        saved,
        [
            version.explanation
            for version in opened.versions
            if saved and (saved.parent_id or 0) < version.explanation.id < saved.id
        ],
        MAX_LENGTH,
        opened.here.to("errors", version=opened.old) if current else None,
        opened.old is not None,
        opened.here.to("draft", version=opened.old) if opened.simulator else None,
        bool(opened.simulator and is_instant(opened.simulator.simulator)),
    )
