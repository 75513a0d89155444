"""Rewrites and their points, as the API returns them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.services.fields import Input, Sought
from app.services.schemas import Comparison, IndependenceOut, Number
from interp.vocabulary import Breadth, Protocol


class RewriteCreate(Input):
    """A new evaluation of the layer, with all latents simulated so far."""

    protocol: Protocol = Field(
        default=Protocol.WHOLE,
        description="Splice every token of a context, or, as published, only its last input token.",
    )
    author: Sought = Field(
        default="",
        max_length=200,
        description="Whose explanations to rewrite with, the newest of each latent; the current "
        "ones if left out.",
    )


class Comparisons(BaseModel):
    """Comparisons with other conditions; null where there is none."""

    real_latents: Comparison | None = Field(default=None, description="With all latents real.")
    no_latents: Comparison | None = Field(default=None, description="With no latents.")
    mean: Comparison | None = Field(default=None, description="With mean ablation.")
    zero: Comparison | None = Field(default=None, description="With zero ablation.")
    set_zeroed: Comparison | None = Field(
        default=None,
        description="The same latents zeroed, with the coder's error kept if this point keeps it.",
    )
    rewritten: Comparison | None = Field(
        default=None,
        description="With the main point: of resample, noise and rewritten_error_kept, which are "
        "measured after it.",
    )
    before: Comparison | None = Field(
        default=None, description="The same point of the rewrite that this one repeats."
    )


class Share(BaseModel):
    """A share with its 95% interval."""

    value: Number = None
    low: Number = None
    high: Number = None


class Recovered(BaseModel):
    """Loss recovered: 1 is as good as all latents real, 0 no better than the named condition."""

    no_latents: Share | None = None
    zero: Share | None = None


class PointStatistics(BaseModel):
    """The comparisons of a point. Nothing is known of points older than these statistics."""

    effective_contexts: Number = Field(
        default=None, description="Contexts, discounted for those of one document being alike."
    )
    against: Comparisons = Comparisons()
    recovered: Recovered = Recovered()


class PointOut(BaseModel):
    """The loss of one condition at one number of latents rewritten."""

    model_config = ConfigDict(from_attributes=True)

    condition: str
    calibration: str
    ordering: str = Field(description="The order whose beginning is the set; empty without a set.")
    count: int
    fraction: float = Field(description="Share of all latents that was really rewritten.")
    missing: int = Field(description="Values of the set that were missing, and so stayed real.")
    increase: Number = Field(description="Loss increase over the untouched model, in nats.")
    low: Number
    high: Number
    losses: list[Number] = Field(description="Mean cross-entropy of each context, in nats.")
    kl: Number = Field(description="Mean KL divergence from the untouched model, in nats.")
    kl_low: Number
    kl_high: Number
    kls: list[Number] | None = Field(description="KL divergence of each context, in nats.")
    statistics: PointStatistics
    copied_from: int | None


class Figure(BaseModel):
    """A point of the loss chart, with its 95% intervals; losses in nats."""

    line: str = Field(
        description="Name in the chart, with “all contexts” added where it is on these."
    )
    condition: str
    calibration: str
    ordering: str
    breadth: Breadth = Field(description="The contexts of the evaluate set that it is measured on.")
    contexts: int = Field(description="The number of these contexts.")
    latents: int = Field(description="Latents rewritten; 0 for a condition without a set.")
    share: float = Field(description="Share of all latents that was really rewritten.")
    increase: Number = Field(description="Loss increase over the untouched model.")
    increase_low: Number
    increase_high: Number
    over_real_latents: Number = Field(description="Loss increase over all latents real.")
    over_real_latents_low: Number
    over_real_latents_high: Number
    kl: Number = Field(description="KL divergence from the untouched model.")
    kl_low: Number
    kl_high: Number
    values_missing: int = Field(description="Simulated values that were missing.")


class Figures(BaseModel):
    """The figures of one view of the loss chart."""

    rewrite_id: int
    protocol: Protocol
    author: str
    figures: list[Figure]


class PairOut(BaseModel):
    """The same point of two rewrites."""

    model_config = ConfigDict(from_attributes=True)

    line: str
    latents: int = Field(description="Latents rewritten in both.")
    comparison: Comparison = Field(description="The second's losses minus the first's.")


class ChangedOut(BaseModel):
    """A latent whose explanation differs; null where it is not rewritten."""

    model_config = ConfigDict(from_attributes=True)

    latent: int
    first: str | None
    second: str | None


class RewriteComparison(BaseModel):
    """Two rewrites, compared context by context."""

    first: int = Field(description="Number of rewrite A.")
    second: int = Field(description="Number of rewrite B.")
    contexts: int = Field(description="Contexts that both were measured on.")
    pairs: list[PairOut]
    changed: list[ChangedOut]


class RewriteSummary(BaseModel):
    """One evaluation of the layer."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    simulator_id: int
    independence: IndependenceOut
    protocol: Protocol
    author: str = Field(description="Author of the explanations; empty for the current ones.")
    counts: list[int]
    seed: int
    parent_id: int | None
    edited_ids: list[int] = Field(description="Explanations that it has and its parent has not.")
    finished: bool = Field(description="Whether all points on the panel are measured.")
    code_version: str
    created_at: datetime


class AllContextsOut(BaseModel):
    """The main point of a rewrite with its baselines, on all contexts of the evaluate set."""

    context_ids: list[int] = Field(description="The panel, and then the other contexts.")
    points: list[PointOut]


class RewriteOut(RewriteSummary):
    """One evaluation of the layer with its points."""

    explanation_ids: list[int]
    orderings: dict[str, list[int]] = Field(
        description="The explanations in every order in which latents are rewritten, by its name."
    )
    context_ids: list[int] = Field(
        description="The panel: the first contexts of the evaluate set, where edits are measured."
    )
    points: list[PointOut] = Field(description="On the panel.")
    all_contexts: AllContextsOut | None = Field(
        description="Null until it is measured, and where the panel is the whole evaluate set."
    )
