"""Jobs, as the API returns them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.kinds import KINDS, LISTED
from jobs.status import Status


class JobOut(BaseModel):
    """One piece of queued work and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    study_id: int
    kind: str = Field(description=f"{LISTED}.", json_schema_extra={"enum": [*KINDS]})
    params: dict[str, Any] = Field(description="Parameters of the job.")
    state: dict[str, Any] = Field(
        description="What its worker noted: the explanations that it chose (explanation_ids), its "
        "simulator_id, rewrite_id, or the job that made it needless (superseded_by), and how far "
        "it is."
    )
    status: Status
    done: int
    total: int | None = Field(description="Units of work; null until it is known.")
    unit: str = Field(description="Unit of done and total.")
    message: str = Field(description="Current step, or the error.")
    missing: int = Field(description="Simulated values that came out missing.")
    usage: dict[str, float] = Field(
        description="Usage so far: tokens_read, tokens_written, seconds at work. What "
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
    seconds_left: float | None = Field(
        description="Seconds at work that it still needs, from its rate so far; null if nothing is "
        "known of that yet, it does not run, or no worker is running."
    )
    no_worker: bool = Field(
        description="Whether it waits or runs though no worker is running for its kind of job."
    )
    jobs_before: int | None = Field(
        description="How many jobs workers take up before it; null if it is not queued, or no "
        "worker is running for it."
    )
    ahead: list[str] = Field(description="Kinds of the jobs that follow by themselves, in order.")


class JobEventOut(BaseModel):
    """A line of a job's log."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    text: str


class FailedPartOut(BaseModel):
    """An explanation that a simulate job has missing values of."""

    model_config = ConfigDict(from_attributes=True)

    latent: int
    explanation: str
    missing: int = Field(description="Values missing now.")
    reasons: dict[str, int] = Field(description="Why, with how many for each reason.")


class JobLog(BaseModel):
    """The log of a job, and its failed parts."""

    lines: list[JobEventOut] = Field(description="Oldest first; the newest 300 are kept.")
    failed_parts: list[FailedPartOut] = Field(description="Most missing first, 100 at most.")
    failed_parts_total: int


class JobList(BaseModel):
    """One page of jobs, newest first."""

    total: int
    items: list[JobReport]
