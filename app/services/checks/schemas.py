"""The outcome of a sanity check, as the API returns it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from interp.vocabulary import Outcome


class CheckOut(BaseModel):
    """The outcome of one sanity check of a study's measurements."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    job_id: int
    name: str
    outcome: Outcome
    detail: str = Field(description="What was compared, with figures.")
    code_version: str
    created_at: datetime
