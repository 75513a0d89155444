"""What a job looks like from outside."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobOut(BaseModel):
    """One piece of queued work and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    study_id: int
    kind: str = Field(description="collect, explain, simulate, rewrite, generate or check.")
    params: dict[str, Any]
    status: Literal["queued", "running", "cancelled", "failed", "finished"]
    done: int
    total: int | None = Field(description="Units of work; null until it is known.")
    unit: str = Field(description="What done and total count.")
    message: str = Field(description="What it is doing now, or why it failed.")
    missing: int = Field(description="Simulated values that came out missing.")
    attempts: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobList(BaseModel):
    """One page of jobs, newest first."""

    total: int
    items: list[JobOut]
