"""Latents, their examples and their loss effects, as the API returns them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.services.schemas import (
    Comparison,
    ExplanationOut,
    IndependenceOrNone,
    IndependenceOut,
    Number,
    ScoreOut,
)
from interp.vocabulary import Change, ExampleKind, Linearisation, Stratum, ValueState


class LatentSummary(BaseModel):
    """A row of the list of latents."""

    model_config = ConfigDict(from_attributes=True)

    index: int
    explanation_id: int | None
    explanation: str | None
    firing_rate: float = Field(description="Share of tokens on which it fires; 0 if it is dead.")
    max_activation: float
    mean_activation: float
    correlation: Number
    correlation_low: Number
    correlation_high: Number
    sensitivity: Number
    specificity: Number
    explained_variance: Number
    loss_effect: Number = Field(
        description="Loss increase when only this latent is rewritten, in nats."
    )
    estimated_effect: Number = Field(
        description="First-order estimate of the loss effect, at all latents real."
    )
    author: str | None = Field(description="Author of the explanation.")
    starred: bool
    nearness: Number = Field(
        description="Cosine of explanation and text in a search by meaning; null in other lists."
    )


class LatentList(BaseModel):
    """One page of latents."""

    total: int = Field(description="Latents that match; with a filter counted up to 1,000.")
    more: bool = Field(description="True if more latents match.")
    before: str | None = Field(description="Cursor of the previous page; null on the first one.")
    after: str | None = Field(description="Cursor of the next page; null on the last one.")
    independence: IndependenceOrNone
    items: list[LatentSummary]


class LossEffectOut(BaseModel):
    """The loss effect of rewriting, or of zeroing, one latent alone, in nats."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    simulator_id: int
    condition: Change
    calibration: str = Field(description="Calibration of rewritten; empty for zeroed.")
    mean: Number = Field(
        description="Mean over the whole evaluate set, estimated from the strata; null where it "
        "cannot be estimated, as for zeroing a latent that fires in none of its contexts."
    )
    low: Number = Field(description="Null where there are too few documents for an interval.")
    high: Number
    fires_mean: Number = Field(description="Mean over the contexts in which the latent fires.")
    fires_low: Number
    fires_high: Number
    context_ids: list[int] = Field(description="The contexts that were run.")
    strata: list[Stratum] = Field(
        description="Of each: the latent fires in it, is only predicted active, or is silent."
    )
    weights: dict[Stratum, Number] = Field(
        description="Share of the evaluate set's contexts that each stratum stands for."
    )
    differences: list[Number] = Field(
        description="Loss minus the loss with all latents real, for each context, in nats."
    )
    before: Comparison | None = Field(
        description="With the explanation this one was written from, on the contexts in which the "
        "latent fires and which both were measured on; null without such a one."
    )
    independence: IndependenceOut


class EditNextOut(BaseModel):
    """A latent, and what a better explanation of it could still win back."""

    model_config = ConfigDict(from_attributes=True)

    index: int
    explanation_id: int
    explanation: str
    estimate: Number = Field(
        description="First-order estimate of its loss effect, in nats, at the point of "
        "linearisation of the list; null if nothing is estimated yet."
    )
    estimate_low: Number
    estimate_high: Number
    estimate_rewritten: Number = Field(
        description="The estimate while all other latents are rewritten too."
    )
    estimate_rewritten_low: Number
    estimate_rewritten_high: Number
    loss_effect: Number = Field(
        description="Exact loss increase when only this latent is rewritten (isotonic), in nats. "
        "The real latent's own is 0, so this is what can be won. Null if it is not measured."
    )
    loss_effect_low: Number
    loss_effect_high: Number
    correlation: Number
    correlation_low: Number
    correlation_high: Number


class AgreementOfEstimates(BaseModel):
    """How far the estimates agree with the exact loss effects of the latents that have both."""

    model_config = ConfigDict(from_attributes=True)

    latents: int
    rank_correlation: Number = Field(description="Spearman's; null for very few latents.")
    slope: Number = Field(description="Of the exact effect on the estimate, by least squares.")


class EditNextList(BaseModel):
    """Latents whose explanations have the largest loss effects, largest first."""

    total: int = Field(description="Latents in the ranking.")
    clear: int = Field(description="Those of them whose interval is above zero.")
    estimated: bool = Field(description="Whether the estimate ranks, not the exact effect.")
    point: Linearisation = Field(description="The point of linearisation of the estimate.")
    agreement: AgreementOfEstimates | None = Field(
        description="Of the estimates with the exact effects, as listed; null without estimates."
    )
    on_same_contexts: AgreementOfEstimates | None = Field(
        description="The same, with both as means over the contexts on which both are known."
    )
    independence: IndependenceOrNone
    items: list[EditNextOut]


class IntervalOut(BaseModel):
    """A part of a latent's range of activations."""

    model_config = ConfigDict(from_attributes=True)

    low: float
    high: float
    share: Number = Field(description="Of the tokens it fires on, those in this interval.")


class LatentOut(BaseModel):
    """One latent with its statistics, its current explanation, and what is known of that."""

    study: str
    index: int
    firing_rate: float
    max_activation: float
    mean_activation: float
    quantiles: list[float] = Field(description="Activation at 0, 0.1, … 1 of where it fires.")
    histogram: list[int] | None = Field(
        description="On how many explain tokens its activation is in each of equal parts of the "
        "range from 0 to its largest; null in a study collected before this was kept."
    )
    intervals: list[IntervalOut] = Field(
        description="Equal parts of its range, strongest first; empty if dead."
    )
    promoted: list[list[Any]]
    suppressed: list[list[Any]]
    explanation: ExplanationOut | None
    scores: list[ScoreOut]
    loss_effects: list[LossEffectOut]


class TokenOut(BaseModel):
    """One token of an example."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="In the subject model's vocabulary.")
    text: str
    real: float
    simulated: Number = Field(description="Raw simulated value, 0 to 9; null where there is none.")
    calibrated: Number = Field(description="The simulated value as an activation (isotonic).")
    difference: Number = Field(description="Calibrated minus real.")
    state: ValueState


class ExampleOut(BaseModel):
    """One context with the latent's real and simulated activations."""

    model_config = ConfigDict(from_attributes=True)

    kind: ExampleKind
    rank: int
    context_id: int
    document: str
    start: int
    tokens: list[TokenOut]


class ExampleList(BaseModel):
    """Examples of one latent under one explanation."""

    explanation_id: int | None
    items: list[ExampleOut]


class ConfusionOut(BaseModel):
    """The confusion counts if a raw value above the threshold predicts that the latent is
    active."""

    model_config = ConfigDict(from_attributes=True)

    threshold: float
    calibrated: Number = Field(description="The threshold as an activation (isotonic).")
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    sensitivity: Number
    specificity: Number
    precision: Number


class PointOut(BaseModel):
    """One token of the calibrate set."""

    model_config = ConfigDict(from_attributes=True)

    raw: float = Field(description="Raw simulated value, 0 to 9.")
    real: float
    calibrated: Number
    token: str
    document: str
    context_id: int
    position: int


class MessageOut(BaseModel):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptOut(BaseModel):
    """The prompt of an explainer for a latent."""

    model_config = ConfigDict(from_attributes=True)

    version: str = Field(description="Of the prompt, with the explainer's name.")
    chat: list[MessageOut] = Field(description="Empty where there is nothing to ask.")
    problem: str = Field(description="Why there is nothing to ask; empty if there is.")


class PromptList(BaseModel):
    """An explainer's prompts."""

    items: list[PromptOut]


class AgreementOut(BaseModel):
    """Simulated against real activations of one explanation, on the calibrate set."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    simulator_id: int
    active: int = Field(description="Active tokens that have a simulated value.")
    silent: int
    missing: int = Field(description="Tokens without a simulated value; they count nowhere.")
    points: list[PointOut] = Field(
        description="Active tokens first, then silent ones; of more than 1,000 of a kind, 1,000 "
        "drawn at random."
    )
    active_drawn: int
    calibration_map: tuple[list[float], list[float]] | None = Field(
        description="Of the isotonic calibration: raw values and activations."
    )
    thresholds: list[ConfusionOut] = Field(description="Counts are of all tokens.")
    as_often: ConfusionOut | None = Field(
        description="At the threshold of the scores, where it is predicted active as often as "
        "it is."
    )
    curve: list[ConfusionOut] = Field(description="At many thresholds, rising.")
    independence: IndependenceOut


class NeighbourOut(BaseModel):
    """A latent that is like another."""

    model_config = ConfigDict(from_attributes=True)

    latent: int = Field(description="Its index.")
    cosine: float
    explanation: str | None


class SimilarOut(BaseModel):
    """Latents that are like one, most alike first."""

    model_config = ConfigDict(from_attributes=True)

    by_direction: list[NeighbourOut] | None = Field(
        description="By the cosine of decoder directions; null if the study was collected without."
    )
    by_meaning: list[NeighbourOut] | None = Field(
        description="By the cosine of the explanations' embeddings; null without one."
    )
