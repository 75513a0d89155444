"""Sentences, as the API takes and returns them."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.services.fields import Input
from interp.cleaning import exact

MAX_TEXT = 600
PER_TOKEN = 8
"""Latents that are shown of each token."""


def _text(text: str) -> str:
    return exact(text, MAX_TEXT, empty="Type a text; this is empty.")


class SentenceCreate(Input):
    """A text to try."""

    text: Annotated[str, AfterValidator(_text)] = Field(
        description=f"1 to {MAX_TEXT:,} characters."
    )


class ActiveLatent(BaseModel):
    """A latent on one token."""

    latent: int
    activation: float


class SentenceToken(BaseModel):
    """A token of the text."""

    text: str
    latents: list[ActiveLatent] = Field(description="Active ones, strongest first, at most 8.")


class SentenceLatent(BaseModel):
    """A latent that fires on the text."""

    model_config = ConfigDict(from_attributes=True)

    latent: int
    explanation_id: int | None
    explanation: str | None
    peak: float = Field(description="Its largest activation on the text.")
    position: int = Field(description="The token on which it has that, counted from 0.")
    activations: list[float] = Field(description="One a token.")
    simulated: list[float | None] | None = Field(
        description="Raw simulated values, 0 to 9, one a token; null where there is none. Null as "
        "a whole if the explanation was not simulated on this text."
    )
    failures: dict[str, int] = Field(description="Why values are missing.")


class SentenceSummary(BaseModel):
    """A text that was tried."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    job_id: int | None
    simulator_id: int | None
    text: str
    code_version: str = Field(description="Empty until a worker takes it up.")
    created_by: str
    created_at: datetime


class SentenceOut(SentenceSummary):
    """A text that was tried, with what fires on it, as far as that is known."""

    tokens: list[SentenceToken] = Field(description="Empty until a worker has read the text.")
    latents: list[SentenceLatent] = Field(description="Strongest first, at most 100.")
    latents_total: int


class SentenceList(BaseModel):
    """One page of sentences, newest first."""

    total: int
    items: list[SentenceSummary]
