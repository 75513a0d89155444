"""Language tests, as the API takes and returns them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.services.fields import Input, OptionalPath
from app.services.rewrites.schemas import Share
from app.services.schemas import IndependenceOut, Number

FEW = 32
"""Latents that are tested by default with a simulator that takes seconds for each text."""


class LanguageCreate(Input):
    """A test of which part of the explanations the simulator goes by."""

    latents: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="Test only so many, drawn at random. If left out: all that are simulated, or "
        f"{FEW} where the simulator takes one text at a time.",
    )
    path: OptionalPath = Field(
        default="",
        description="File on the server with further variants, such as paraphrases: explanations "
        "as they are imported, whose author names the variant.",
    )


class FiguresOut(BaseModel):
    """The figures of one variant, with 95% intervals."""

    correlation: Share = Field(description="Mean over latents, on the calibrate set.")
    kept: Share = Field(description="Its share of the original's on the same latents.")
    increase: Share = Field(
        description="Loss increase over the untouched model with all of them rewritten, in nats."
    )
    kl: Share = Field(description="KL divergence from the untouched model, in nats.")
    recovered: Share = Field(
        description="Loss recovered: 1 is as good as real latents, 0 as bad as the same latents "
        "zeroed."
    )


class BaselineOut(BaseModel):
    """A condition without explanations, on the same contexts."""

    increase: Share
    kl: Share
    losses: list[Number]
    kls: list[Number]


class VariantOut(BaseModel):
    """The explanations of a test under one variant."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="A variant by rule, or the author of texts from a file.")
    given: bool = Field(description="True of texts from a file.")
    latent: int = Field(description="The latent of the example.")
    text: str = Field(description="The example's text.")
    explanations: int = Field(
        description="Texts of the variant. Latents without one keep the original."
    )
    nothing_left: int = Field(
        description="Texts of which the rule left nothing: the generic sentence stands for them."
    )
    missing: int = Field(description="Missing values. There the latent stays real.")
    figures: FiguresOut
    correlations: list[Number] = Field(description="In the order of the test's explanation_ids.")
    losses: list[Number] = Field(description="Of each context, in nats.")
    kls: list[Number]


class LanguageOut(BaseModel):
    """A test with its variants."""

    id: int
    simulator_id: int
    independence: IndependenceOut
    explanation_ids: list[int]
    context_ids: list[int]
    seed: int
    code_version: str
    created_at: datetime
    in_words: str = Field(description="What it found, in sentences.")
    baselines: dict[str, BaselineOut] = Field(
        description="untouched, real_latents, and set_zeroed: the same latents zeroed."
    )
    variants: list[VariantOut]
