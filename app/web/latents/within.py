"""The list that a latent was opened from: the way to its neighbours there, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.latents.filter_schemas import LatentFilter
from app.services.latents.listing import neighbours
from app.services.latents.queries import Around
from models import Latent, Study


@dataclass(frozen=True)
class Kept:
    """The list that a latent was opened from, as addresses carry it on."""

    state: dict[str, Any]
    """Its fields in an address; none for the list of all latents by index."""

    def at(self, **fields: Any) -> str:
        """The query string of an address: these fields if they have a value, and the list.

        Its question mark is included.
        """
        named = {name: value for name, value in fields.items() if value is not None} | self.state
        return f"?{urlencode(named)}" if named else ""

    @property
    def query(self) -> str:
        """The list alone, with its question mark, or nothing."""
        return self.at()


@dataclass(frozen=True)
class Within(Kept):
    """A latent's place in the list it was opened from."""

    words: str
    """What the list is; empty for the list of all latents by index."""
    before: int | None
    after: int | None


def kept(params: Mapping[str, str]) -> Kept:
    """The list that an address names; that of all latents where it is none."""
    return Kept(_wanted(params).state())


def _wanted(params: Mapping[str, str]) -> LatentFilter:
    try:
        return LatentFilter.model_validate(dict(params))
    except ValidationError:
        return LatentFilter()


def within(
    session: Session, study: Study, latent: Latent, params: Mapping[str, str], around: Around
) -> Within:
    """A latent's place in the list that an address names; in all latents where that is none."""
    wanted = _wanted(params)
    state = wanted.state()
    if state:
        try:
            before, after = neighbours(session, study, wanted, latent)
            return Within(state, wanted.in_words(), before, after)
        except Conflict:
            state = {}
    return Within(state, "", around.before, around.after)


def latent_address(study: Study, index: int, wanted: LatentFilter) -> str:
    """Address of a latent's page, opened from a list."""
    return f"/studies/{study.slug}/latents/{index}{Kept(wanted.state()).query}"
