"""An inspection, as the API and the form ask for it."""

from typing import Any

from pydantic import Field, field_validator

from app.services.fields import Corpus
from app.services.studies.schemas import Sources
from interp.corpus.source import SOTU


class InspectionCreate(Sources):
    """A coder to inspect, with what a study is made from. A text is not needed."""

    corpus: Corpus = Field(
        default=SOTU,
        description="Text to measure on, named as in a study. Empty: sotu, the State of the Union "
        "addresses. A study of another text may judge otherwise.",
    )

    @field_validator("corpus", mode="before")
    @classmethod
    def _or_sotu(cls, corpus: Any) -> Any:
        return SOTU if isinstance(corpus, str) and not corpus.strip() else corpus
