"""What a rewrite and its points look like from outside."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.explanations.schemas import Number


class RewriteCreate(BaseModel):
    """A new evaluation of the layer, with all latents simulated so far."""

    positions: Literal["all", "last"] = Field(
        default="all", description="Splice every token of a context, or only its last one."
    )


class PointOut(BaseModel):
    """The loss of one condition at one number of latents rewritten."""

    model_config = ConfigDict(from_attributes=True)

    condition: str
    calibration: str
    count: int
    fraction: float
    missing: int
    increase: Number = Field(description="Loss increase over the untouched model, in nats.")
    low: Number
    high: Number
    losses: list[Number] = Field(description="Mean cross-entropy of each context, in nats.")
    copied_from: int | None


class RewriteSummary(BaseModel):
    """One evaluation of the layer."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    simulator_id: int
    positions: Literal["all", "last"]
    counts: list[int]
    seed: int
    parent_id: int | None
    finished: bool
    code_version: str
    created_at: datetime


class RewriteOut(RewriteSummary):
    """One evaluation of the layer with its points."""

    explanation_ids: list[int]
    context_ids: list[int]
    points: list[PointOut]
