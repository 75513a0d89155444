"""Parts of addresses."""

from typing import Annotated

from fastapi import Path

from app.services.studies.schemas import SLUG_PATTERN

Slug = Annotated[str, Path(pattern=SLUG_PATTERN, max_length=80, description="Name of a study.")]
Index = Annotated[int, Path(ge=0, lt=2**31, description="Index of a latent in its coder.")]
