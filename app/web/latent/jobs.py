"""The jobs that a latent's page shows: those of its study, and those about itself."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.explanations.queries import simulate_jobs
from app.web.latent.opened import Opened
from jobs.progress import JobLine
from jobs.status import ACTIVE, STOPPED


class Jobs(NamedTuple):
    """Jobs that wait or run, and one that stopped before the shown version was simulated."""

    lines: list[tuple[JobLine, bool]]
    """Each with whether it is about this latent."""
    back: str
    """The page to go back to."""
    simulating: bool
    """True if one of them simulates the shown version."""


def jobs(session: Session, opened: Opened, active: list[JobLine]) -> Jobs:
    """The jobs of a latent's page.

    Args:
        active: Those of the study that wait or run.
    """
    # Once it is simulated, a job that stopped before that is over and done with.
    asked = bool(active) or not opened.simulated
    ids = [version.explanation.id for version in opened.versions]
    about = simulate_jobs(session, opened.study, ids) if asked else []
    mine = {job.id for job, _ in about}
    lines = [(job, job.id in mine) for job in active]
    if about and not opened.simulated and about[0][0].status in STOPPED:
        lines.insert(0, (about[0][0], True))
    shown = opened.shown
    return Jobs(
        lines,
        opened.here.to(),
        any(job.status in ACTIVE and shown and shown.id in texts for job, texts in about),
    )
