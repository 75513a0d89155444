"""The outcome of a sanity check, as the API returns it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CheckOut(BaseModel):
    """The outcome of one sanity check of a study's measurements."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    job_id: int
    name: str
    outcome: Literal["passed", "failed", "cannot tell"] = Field(
        description="Cannot tell: the data do not decide."
    )
    detail: str = Field(description="What was compared, with figures.")
    code_version: str
    created_at: datetime
