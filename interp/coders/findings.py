"""What an inspection of a sparse coder is asked, and what it finds. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from interp.vocabulary import CoderFit, Dtype


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Question(_Part):
    """A model, a sparse coder, and the text to measure on."""

    model: str
    model_revision: str | None = None
    coder: str
    hookpoint: str = ""
    reads: str = ""
    reading: str = ""
    dtype: Dtype = Dtype.FLOAT32
    corpus: str = "sotu"
    context_length: int = 34
    prepend_bos: bool = True
    first_position: int = 1
    """Positions before it are left out."""


class CoderFiles(_Part):
    """What the files of a sparse coder say."""

    format: str
    weights: str = Field(description="Path of the file.")
    kind: Literal["transcoder", "sae"]
    skip: bool = Field(description="Whether it has a skip connection.")
    reads: str = Field(description="Site that it reads; empty if its files name none.")
    d_in: int
    writes: str = Field(description="Site that it writes; empty if its files name none.")
    d_out: int
    latents: int
    rule: str = Field(description="Which latents are active.")
    active: float | None = Field(
        description="Mean number of active latents of a token; null if its files name none."
    )
    model: str = Field(description="Model that it was trained on; empty if its files name none.")
    remark: str = Field(description="How its files are read, where they leave a choice.")


class MeasuredSite(_Part):
    """One way to use a sparse coder, measured."""

    reads: str
    writes: str
    reading: str = Field(description="How its files are read; empty as they say.")
    typical_fvu: float | None = Field(
        description="Fraction left unexplained of the typical token, by which the fit is judged; "
        "null where its width is not the site's."
    )
    fvu: float | None = Field(
        description="Fraction of variance unexplained; null where its width is not the site's."
    )
    active: float | None = Field(
        description="Mean number of active latents of a token; null where its width is not the "
        "site's."
    )
    fits: bool = Field(
        description="Whether a study takes it: the typical FVU is below 0.6, and half to twice as "
        "many latents are active as its files say."
    )


class Measured(_Part):
    """The sites and readings of a sparse coder, measured in a model."""

    fit: CoderFit
    best: int | None = Field(description="The one of sites to use; null if none fits.")
    sites: list[MeasuredSite] = Field(
        description="First the one that was asked for, or else that of the coder's files. Then the "
        "others, best first."
    )
    tokens: int = Field(description="Tokens that they were measured on.")
