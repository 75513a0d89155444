"""What an explanation and its scores look like from outside."""

from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.simulators.schemas import CleanlinessOrNone
from interp.cleaning import MAX_LENGTH, comment, explanation

Number = Annotated[
    float | None, BeforeValidator(lambda x: None if x is None or not isfinite(x) else x)
]
"""A figure; null where it is not defined."""


class ExplanationCreate(BaseModel):
    """A new wording."""

    text: Annotated[str, AfterValidator(explanation)] = Field(
        description=f"What makes the latent fire; 1 to {MAX_LENGTH:,} characters. "
        "Line breaks and tabs become spaces."
    )
    parent_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="The version this one was written from; the current one if left out.",
    )


class Wording(BaseModel):
    """A wording that is not saved."""

    text: Annotated[str, AfterValidator(explanation)] = Field(
        description=f"1 to {MAX_LENGTH:,} characters. Line breaks and tabs become spaces."
    )


class ReadingOut(BaseModel):
    """What the study's simulator reads, in three parts that follow each other without a gap."""

    model_config = ConfigDict(from_attributes=True)

    before: str
    explanation: str
    after: str
    note: str = Field(description="What the text does not show.")


class CommentCreate(BaseModel):
    """Something to say of one version."""

    text: Annotated[str, AfterValidator(comment)] = Field(
        description=f"1 to {MAX_LENGTH:,} characters; it may have several lines."
    )


class CommentOut(BaseModel):
    """What a person said of one version."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    explanation_id: int
    author: str
    text: str
    created_at: datetime


class ValueOut(BaseModel):
    """What a wording's simulation says of one token."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["bos", "none", "missing", "simulated"] = Field(
        description="bos: first token, never simulated; none: not simulated; missing: the "
        "simulator gave no value."
    )
    raw: Number = Field(
        validation_alias="simulated", description="0 to 9; null where there is none."
    )
    calibrated: Number = Field(description="The raw value as an activation (isotonic).")


class WrongToken(BaseModel):
    """A token near an error."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    real: float
    said: ValueOut


class WrongOut(BaseModel):
    """A context of the calibrate set, and the token where the simulation is most wrong."""

    model_config = ConfigDict(from_attributes=True)

    context_id: int
    document: str
    start: int = Field(description="Offset of the context in its document, in tokens.")
    position: int = Field(description="Of the token in its context.")
    at: int = Field(description="Of the token among tokens.")
    tokens: list[WrongToken] = Field(description="The token and those around it.")


class WorstOut(BaseModel):
    """The worst errors of a wording on the calibrate set, one a context, worst first."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    false_positives: list[WrongOut] = Field(description="Said to be active where it is silent.")
    false_negatives: list[WrongOut] = Field(description="Said to be less active than it is.")
    contexts: int = Field(description="How many contexts were looked through.")
    missing: int = Field(description="Simulated values that are missing; none counts as an error.")
    problem: str = Field(description="Why nothing can be said; empty if something can.")


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
