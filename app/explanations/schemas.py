"""What an explanation and its scores look like from outside."""

import re
import unicodedata
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.simulators.schemas import CleanlinessOrNone

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
    simulator_id: int | None = Field(
        description="Null for a judgement of a language model, which details name."
    )
    name: str = Field(
        description="correlation, explained_variance, sensitivity, specificity, f1 or auroc of the "
        "simulation; detection or fuzzing by a language model. Each is 1 at best."
    )
    value: Number = Field(description="Null where it is not defined.")
    low: Number
    high: Number
    n: int = Field(description="Examples it rests on: tokens, or judgements.")
    details: dict[str, Any] = Field(
        description="What it rests on: active, tokens that the latent is active on; floor, the "
        "mean of the same figure over floor_of explanations of other latents, or chance; model, "
        "failures and cost of a judgement."
    )
    cleanliness: CleanlinessOrNone
