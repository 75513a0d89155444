"""A latent as one request asks for it: what the sections of its pages are made of."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session

from app.services.explanations.history import Version, list_versions
from app.services.explanations.queries import get_version
from app.services.explanations.scores import is_simulated
from app.services.latents.queries import Around, around
from app.services.simulators.independence import StudySimulator, study_simulator
from app.web.latents.within import Here, Within, here, within
from models import Explanation, Latent, Score, Study


@dataclass(frozen=True)
class Opened:
    """A latent, all versions of its text, and the one that is shown."""

    study: Study
    latent: Latent
    here: Here
    within: Within
    around: Around
    simulator: StudySimulator | None
    versions: list[Version]
    """Newest first."""
    current: Explanation | None
    shown: Explanation | None
    """The version whose simulation is shown: the current one, if none is asked for."""

    @property
    def old(self) -> int | None:
        """The shown version where it is not the current one, for addresses to name it."""
        return self.shown.id if self.shown and self.shown is not self.current else None

    @property
    def reached(self) -> Version | None:
        """The shown version with its results."""
        return next((v for v in self.versions if v.explanation is self.shown), None)

    @property
    def parent(self) -> Version | None:
        """The version that the shown one was written from."""
        number = self.shown.parent_id if self.shown else None
        return next((v for v in self.versions if v.explanation.id == number), None)

    @property
    def scores(self) -> list[Score]:
        """Of the shown version."""
        return self.reached.scores if self.reached else []

    @property
    def simulated(self) -> bool:
        """True if the shown version is simulated."""
        return is_simulated(self.scores)

    @property
    def address(self) -> str:
        """Of the whole page as it is shown."""
        return self.here.to(version=self.old)


def opened(
    request: Request, session: Session, study: Study, latent: Latent, version: int | None
) -> Opened:
    """Read a latent for its page.

    Args:
        version: The explanation with the simulation to show. None stands for the current one.

    Raises:
        NotFound: There is no such version of the latent's text.
    """
    versions = list_versions(session, study, latent, version or latent.explanation_id)
    by_id = {one.explanation.id: one.explanation for one in versions}
    current = by_id[latent.explanation_id] if latent.explanation_id else None
    beside = around(session, study, latent)
    place = within(session, study, latent, request.query_params, beside)
    return Opened(
        study,
        latent,
        Here(study.slug, latent.index, place.state),
        place,
        beside,
        study_simulator(session, study),
        versions,
        current,
        get_version(session, latent, version) if version is not None else current,
    )


def shown_version(session: Session, latent: Latent, version: int | None) -> Explanation | None:
    """The explanation that a part of the page asks for: the current one, if it names none.

    Raises:
        NotFound: There is no such version of the latent's text.
    """
    if version is not None:
        return get_version(session, latent, version)
    return session.get(Explanation, latent.explanation_id) if latent.explanation_id else None


def here_of(request: Request, study: Study, latent: Latent) -> Here:
    """The addresses of a latent's pages, within the list that the request names."""
    return here(study, latent.index, request.query_params)
