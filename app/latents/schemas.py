"""What a latent, its examples and its costs look like from outside."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.explanations.schemas import ExplanationOut, Number, ScoreOut, ValueOut
from app.fields import Sought
from app.rewrites.schemas import Comparison
from app.simulators.schemas import Cleanliness, CleanlinessOrNone

Column = Literal[
    "firing_rate",
    "max_activation",
    "mean_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "explained_variance",
    "cost",
    "author",
]
"""What the list can show of a latent besides its index and its explanation."""
COLUMNS: tuple[Column, ...] = (
    "firing_rate",
    "max_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "cost",
)
"""Those that it shows if nothing else is said."""
NEAREST = 100
"""A search by meaning lists so many latents at most."""
Sort = Literal[
    "index",
    "firing_rate",
    "max_activation",
    "mean_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "explained_variance",
    "cost",
]
Order = Literal["asc", "desc"]
Kind = Literal["top", "quantile", "random", "near_miss"]
Stratum = Literal["fires", "said", "silent"]
Bound = Annotated[
    Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)] | None,
    # A form sends an empty field as empty text.
    BeforeValidator(lambda value: None if value == "" else value),
]


class LatentMatch(BaseModel):
    """Which latents are meant."""

    q: Sought = Field(
        default="",
        max_length=200,
        description="Words in the current explanation, begun or whole; in quotes as they stand; "
        "with a minus before those that are not to be there.",
    )
    firing_rate_min: Bound = Field(default=None, description="Fires on this share of tokens.")
    firing_rate_max: Bound = Field(default=None, description="Fires on no more than this share.")
    correlation_min: Bound = Field(default=None, description="Least correlation.")
    correlation_max: Bound = Field(default=None, description="Largest correlation.")
    cost_min: Bound = Field(default=None, description="Least cost, in nats.")
    cost_max: Bound = Field(default=None, description="Largest cost, in nats.")
    written_by: Sought = Field(
        default="", max_length=200, description="Author of the current explanation."
    )
    edited: bool = Field(default=False, description="Only latents that a person worded.")
    simulated: bool = Field(default=False, description="Only latents with a finished simulation.")
    missing: bool = Field(default=False, description="Only latents with missing simulated values.")
    on_list: Sought = Field(
        default="", max_length=100, description="Only latents on this list, such as starred."
    )

    def filter(self) -> dict[str, Any]:
        """The part of it that narrows the list, by field."""
        return self.fields(LatentMatch)

    def fields(self, model: type[BaseModel]) -> dict[str, Any]:
        """The fields that another model has and that are not the default, as in an address."""
        named = self.model_dump(include=set(model.model_fields), exclude_defaults=True)
        return {name: "true" if value is True else value for name, value in named.items()}

    def in_words(self) -> str:
        """What the latents have in common, such as “starred, with correlation ≤ 0.3”."""
        parts = [f"with “{self.q}” in the explanation"] if self.q else []
        for label, low, high in (
            ("firing on a share", self.firing_rate_min, self.firing_rate_max),
            ("with correlation", self.correlation_min, self.correlation_max),
            ("with cost", self.cost_min, self.cost_max),
        ):
            if low is not None and high is not None:
                parts.append(f"{label} {_figure(low)} to {_figure(high)}")
            elif low is not None or high is not None:
                sign, bound = ("≥", low) if low is not None else ("≤", high)
                parts.append(f"{label} {sign} {_figure(bound)}")
        if self.written_by:
            parts.append(f"explained by {self.written_by}")
        if self.edited:
            parts.append("edited by a person")
        if self.simulated:
            parts.append("simulated")
        if self.missing:
            parts.append("with missing values")
        if self.on_list:
            parts.append("starred" if self.on_list == STARRED else f"on the list “{self.on_list}”")
        return ", ".join(parts)


STARRED = "starred"
"""The list of the latents with a star."""


def _figure(value: float | None) -> str:
    return f"{value:g}".replace("-", "−")


class LatentFilter(LatentMatch):
    """Which latents to list, and in which order. The same for the page and the API."""

    meaning: Sought = Field(
        default="",
        max_length=500,
        description="Lists the latents whose explanations are nearest in meaning to this text, "
        f"nearest first, {NEAREST} at most; sort and order then do nothing.",
    )
    sort: Sort = Field(default="index", description="Column; missing values come last.")
    order: Order = Field(default="asc", description="Direction.")

    def in_words(self) -> str:
        """What the latents have in common, and in which order they come."""
        if self.meaning.strip():
            order = f"nearest in meaning to “{self.meaning.strip()}”"
        elif self.sort != "index" or self.order == "desc":
            label = self.sort.replace("_", " ")
            order = f"by {label}, {'largest' if self.order == 'desc' else 'smallest'} first"
        else:
            order = ""
        return "; ".join(filter(None, [super().in_words(), order]))

    def state(self) -> dict[str, Any]:
        """The filter and the order by field, without what is the default: for an address."""
        return self.fields(LatentFilter)


Cursor = Annotated[
    str,
    Field(
        max_length=60, pattern=r"^(|(-?\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,2})?)?~\d{1,18}(~many)?)$"
    ),
]
"""A place in the list: the value that it is sorted by (nothing if missing), ``~``, and a number
that tells equal values apart; ``~many`` where more match than are counted. Empty for the list's
beginning."""


class Part(LatentFilter):
    """The filter of the list, and where in it to begin."""

    after: Cursor = Field(default="", description="The list from behind this place on.")
    before: Cursor = Field(default="", description="The list up to this place; not with after.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.after and self.before:
            raise ValueError("Name after or before, not both.")
        return self


class LatentQuery(Part):
    """Which part of the list to return."""

    limit: int = Field(default=50, ge=1, le=500, description="How many to return.")


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
    cost: Number = Field(description="Loss increase when only this latent is rewritten, in nats.")
    author: str | None = Field(description="Who wrote the explanation.")
    starred: bool
    nearness: Number = Field(
        description="Cosine of explanation and text in a search by meaning; null in other lists."
    )


class LatentList(BaseModel):
    """One page of latents."""

    total: int = Field(description="Latents that match; with a filter counted up to 1,000.")
    more: bool = Field(description="Whether more than this match.")
    before: str | None = Field(description="Where the page before ends; null on the first one.")
    after: str | None = Field(description="Where the next page begins; null on the last one.")
    cleanliness: CleanlinessOrNone
    items: list[LatentSummary]


class CostOut(BaseModel):
    """What it costs to rewrite, or to zero, one latent alone, in nats."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    simulator_id: int
    condition: Literal["rewritten", "zeroed"]
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
        description="Of each: the latent fires in it, is only said to fire, or is silent."
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
    cleanliness: Cleanliness


class EditNextOut(BaseModel):
    """A latent, and what a better explanation of it could still win back."""

    model_config = ConfigDict(from_attributes=True)

    index: int
    explanation_id: int
    explanation: str
    cost: float = Field(
        description="Loss increase when only this latent is rewritten (isotonic), in nats. The "
        "real latent's own is 0, so this is what can be won."
    )
    cost_low: Number
    cost_high: Number
    correlation: Number
    correlation_low: Number
    correlation_high: Number


class EditNextList(BaseModel):
    """Latents whose explanations cost most, dearest first."""

    total: int = Field(description="Latents of which the cost is known.")
    clear: int = Field(description="Of these, how many are clearly above zero.")
    cleanliness: CleanlinessOrNone
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
    costs: list[CostOut]


class TokenOut(BaseModel):
    """One token of an example."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="In the subject model's vocabulary.")
    text: str
    real: float
    simulated: Number = Field(description="Raw simulated value, 0 to 9; null where there is none.")
    calibrated: Number = Field(description="The simulated value as an activation (isotonic).")
    difference: Number = Field(description="Calibrated minus real.")
    state: Literal["bos", "none", "missing", "simulated"] = Field(
        description="bos: first token, never simulated; none: not simulated yet; "
        "missing: the simulator gave no value."
    )


class ExampleOut(BaseModel):
    """One context with the latent's real and simulated activations."""

    model_config = ConfigDict(from_attributes=True)

    kind: Kind
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
    """How tokens fall, where a raw value above the threshold says that the latent is active."""

    model_config = ConfigDict(from_attributes=True)

    threshold: float
    calibrated: Number = Field(description="The threshold as an activation (isotonic).")
    active_said: int
    active_not_said: int
    silent_said: int
    silent_not_said: int
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
    """What an explainer would ask a language model about a latent."""

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
    knots: tuple[list[float], list[float]] | None = Field(
        description="Of the isotonic calibration: raw values and activations."
    )
    thresholds: list[ConfusionOut] = Field(description="Counts are of all tokens.")
    as_often: ConfusionOut | None = Field(
        description="At the threshold of the scores, where it is said to be active as often as "
        "it is."
    )
    curve: list[ConfusionOut] = Field(description="At many thresholds, rising.")
    cleanliness: Cleanliness


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


class ChangeOut(BaseModel):
    """A run of words of a diff."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["kept", "added", "removed"]
    text: str


class SideOut(BaseModel):
    """One of two versions."""

    explanation: ExplanationOut
    scores: list[ScoreOut]
    costs: list[CostOut]
    simulated: bool = Field(description="Whether it is simulated on the latent's examples.")


class PairedOut(BaseModel):
    """How much more b costs than a where the latent fires (isotonic)."""

    model_config = ConfigDict(from_attributes=True)

    comparison: Comparison
    contexts: int = Field(description="Contexts that both were measured on.")


class ComparedTokenOut(BaseModel):
    """A token of an example, with what both versions make of it."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    real: float
    a: ValueOut
    b: ValueOut


class ComparedExampleOut(BaseModel):
    """An example of the latent."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["top", "quantile", "random", "near_miss"]
    rank: int
    document: str
    start: int
    tokens: list[ComparedTokenOut]


class ComparedOut(BaseModel):
    """Two versions of a latent's text, side by side on the same examples."""

    a: SideOut
    b: SideOut
    diff: list[ChangeOut] = Field(description="Words, from a to b.")
    paired: PairedOut | None = Field(
        description="Null unless one was written from the other and both were measured."
    )
    examples: list[ComparedExampleOut]
