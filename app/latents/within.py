"""The list that a latent was opened from: the way to its neighbours there, and back."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.latents.listing import neighbours
from app.latents.schemas import LatentFilter
from models import Latent, Study


class Within(NamedTuple):
    """A latent's place in the list it was opened from."""

    words: str
    """What the list is; empty for the list of all latents by index."""
    state: dict[str, str]
    """Its fields in an address."""
    query: str
    """The same with its question mark, or nothing."""
    before: int | None
    after: int | None


def within(session: Session, study: Study, latent: Latent, params: Mapping[str, str]) -> Within:
    """The list that an address names; that of all latents where it is none."""
    try:
        wanted = LatentFilter.model_validate(dict(params))
        before, after = neighbours(session, study, wanted, latent)
    except (ValidationError, Conflict):
        wanted = LatentFilter()
        before, after = neighbours(session, study, wanted, latent)
    state = wanted.state()
    query = f"?{urlencode(state)}" if state else ""
    return Within(wanted.in_words(), state, query, before, after)


def latent_address(study: Study, index: int, wanted: LatentFilter) -> str:
    """Address of a latent's page, opened from a list."""
    query = urlencode(wanted.state())
    return f"/studies/{study.slug}/latents/{index}" + (f"?{query}" if query else "")
