"""What a job looks like from outside."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobOut(BaseModel):
    """One piece of queued work and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    study_id: int
    kind: str = Field(description="collect, explain, simulate, rewrite, generate, check or embed.")
    params: dict[str, Any]
    status: Literal["queued", "running", "cancelled", "failed", "finished"]
    done: int
    total: int | None = Field(description="Units of work; null until it is known.")
    unit: str = Field(description="What done and total count.")
    message: str = Field(description="What it is doing now, or why it failed.")
    missing: int = Field(description="Simulated values that came out missing.")
    usage: dict[str, float] = Field(
        description="What it has cost so far: tokens_read, tokens_written, seconds at work. What "
        "was expected is in params, under estimate."
    )
    attempts: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobReport(JobOut):
    """A job, and what is missing of what it has simulated."""

    missing_share: float | None = Field(
        description="Values missing now as a share of all; null if none ever was."
    )
    failures: dict[str, int] = Field(
        description="Why values are missing now, with how many for each reason."
    )


class JobList(BaseModel):
    """One page of jobs, newest first."""

    total: int
    items: list[JobReport]
