"""Parts of addresses."""

from typing import Annotated

from fastapi import Path, Query

from app.services.studies.schemas import SLUG_PATTERN

Slug = Annotated[str, Path(pattern=SLUG_PATTERN, max_length=80, description="Name of a study.")]
Index = Annotated[int, Path(ge=0, lt=2**31, description="Index of a latent in its coder.")]
VersionId = Annotated[int | None, Query(ge=1, lt=2**63)]
"""One version of a latent's text."""
