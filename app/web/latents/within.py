"""The list that a latent was opened from: the way to its neighbours there, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.latents.filter_schemas import LatentFilter
from app.services.latents.listing import neighbours
from app.services.latents.queries import Around
from app.web.urls import url, with_query
from models import Latent, Study


@dataclass(frozen=True)
class Here:
    """The addresses of one latent's pages. They carry on the list that it was opened from."""

    study: str
    """Slug of its study."""
    index: int
    state: dict[str, Any]
    """Fields of the list in an address. None for the list of all latents by index."""

    def to(self, page: str = "latent", /, **fields: Any) -> str:
        """A page of the latent, by its name in :data:`~app.web.urls.PATHS`."""
        return url(page, self.study, self.index, **fields, **self.state)

    @property
    def query(self) -> str:
        """The list alone, with its question mark, or nothing."""
        return with_query(self.state)

    @property
    def list(self) -> str:
        """The list itself."""
        return url("latents", self.study, **self.state)

    @property
    def random(self) -> str:
        """Any latent of the list."""
        return url("random_latent", self.study, **self.state)

    def neighbour(self, index: int) -> str:
        """Another latent of the list."""
        return url("latent", self.study, index, **self.state)


@dataclass(frozen=True)
class Within:
    """A latent's place in the list it was opened from."""

    state: dict[str, Any]
    words: str
    """A description of the list. Empty for the list of all latents by index."""
    before: int | None
    after: int | None


def here(study: Study, index: int, params: Mapping[str, str]) -> Here:
    """The addresses of a latent's pages, within the list that an address names."""
    return Here(study.slug, index, _wanted(params).state())


def _wanted(params: Mapping[str, str]) -> LatentFilter:
    try:
        return LatentFilter.model_validate(dict(params))
    except ValidationError:
        return LatentFilter()


def within(
    session: Session, study: Study, latent: Latent, params: Mapping[str, str], around: Around
) -> Within:
    """A latent's place in the list that an address names, or among all latents if it names none."""
    wanted = _wanted(params)
    state = wanted.state()
    if state:
        try:
            before, after = neighbours(session, study, wanted, latent)
            return Within(state, wanted.in_words(), before, after)
        except Conflict:
            state = {}
    return Within(state, "", around.before, around.after)
