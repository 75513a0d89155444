"""Recent activity in a study, as the API returns it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.services.schemas import Comparison


class Activity(BaseModel):
    """An explanation that a person saved, or a job that ended."""

    at: datetime
    who: str
    kind: Literal["edit", "job"]
    text: str = Field(description="The explanation; of a job, why it failed.")
    latent: int | None = None
    explanation_id: int | None = None
    rewrite_id: int | None = Field(
        default=None, description="The first rewrite of the layer with this explanation."
    )
    layer: Comparison | None = Field(
        default=None, description="The layer's loss with it, minus that before it."
    )
    own: Comparison | None = Field(
        default=None, description="Its loss effect where the latent fires, minus its parent's."
    )
    job_id: int | None = None
    job_kind: str | None = None
    status: str | None = None
