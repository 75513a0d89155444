"""What an explanation and its scores look like from outside."""

import re
import unicodedata
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_LENGTH = 2000

Number = Annotated[
    float | None, BeforeValidator(lambda x: None if x is None or not isfinite(x) else x)
]
"""A figure; null where it is not defined."""


def clean(text: str) -> str:
    """An explanation as it is stored: one line, trimmed.

    Raises:
        ValueError: It is empty, too long, or has control characters.
    """
    text = re.sub(r"[\r\n\t]+", " ", text).strip()
    if not text:
        raise ValueError("Write what makes this latent fire; the text is empty.")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"Use at most {MAX_LENGTH:,} characters; this has {len(text):,}.")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("Take out the control characters, such as NUL or escape.")
    return text


class ExplanationCreate(BaseModel):
    """A new wording."""

    text: Annotated[str, AfterValidator(clean)] = Field(
        description=f"What makes the latent fire; 1 to {MAX_LENGTH:,} characters. "
        "Line breaks and tabs become spaces."
    )
    parent_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="The version this one was written from; the current one if left out.",
    )


class ExplanationOut(BaseModel):
    """One version of a latent's text."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    author_kind: Literal["person", "model"]
    author: str
    prompt_version: str | None
    parent_id: int | None
    details: dict[str, Any]
    created_at: datetime


class ExplanationSaved(BaseModel):
    """A saved wording and the job that simulates it."""

    explanation: ExplanationOut
    job_id: int
    conflict: bool = Field(
        description="Somebody else saved a version after parent_id; both are in the history."
    )


class ExplanationList(BaseModel):
    """All versions of a latent's text, newest first."""

    current_id: int | None
    items: list[ExplanationOut]


class ScoreOut(BaseModel):
    """How well one explanation predicts its latent."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    simulator_id: int
    name: str
    value: Number = Field(description="Null where it is not defined.")
    low: Number
    high: Number
    n: int = Field(description="Tokens it was computed on.")
    details: dict[str, Any]
