"""Lists of latents, as the API takes and returns them."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.services.work.schemas import Selection
from interp.cleaning import one_line

LIST_NAME = 100
"""Characters of a list's name."""


def _clean(name: str) -> str:
    return " ".join(one_line(name, LIST_NAME, empty="Name the list.").split())


ListName = Annotated[
    str,
    Field(
        max_length=LIST_NAME,
        description="Name of the list; starred is the one of the latents with a star.",
    ),
    AfterValidator(_clean),
]


class ListAdd(Selection):
    """Latents to put on a list."""

    name: ListName


class ListOut(BaseModel):
    """A list of latents."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    latents: int = Field(description="Latents on the list.")
    created_by: str
    created_at: datetime


class ListChanged(BaseModel):
    """A list, and what was done to it."""

    changed: int = Field(description="Latents that were added, or removed.")
    list: ListOut


class Starred(BaseModel):
    """True if a latent has a star."""

    index: int
    starred: bool
