"""The error budget of a rewritten layer, as the API returns it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.services.schemas import IndependenceOrNone, MeanOut, Number
from interp.vocabulary import BudgetSplit


class EntryOut(BaseModel):
    """The part of one error and one group of latents."""

    model_config = ConfigDict(from_attributes=True)

    split: BudgetSplit
    group: str = Field(description="A kind of latents or a band; empty for the whole layer.")
    error: str = Field(description="A prediction error; empty for all errors together.")
    latents: int
    mean: Number = Field(description="Its part of the estimated loss increase, in nats.")
    low: Number
    high: Number
    share: Number = Field(
        description="Of the whole layer's estimate. Null where that is not clearly above zero."
    )
    share_low: Number
    share_high: Number


class ComparedOut(BaseModel):
    """An estimated part beside the exact loss that corresponds to it."""

    model_config = ConfigDict(from_attributes=True)

    errors: list[str] = Field(description="The prediction errors that the estimate sums.")
    exact_is: str = Field(description="The exact loss: one condition minus another.")
    estimate: MeanOut
    exact: MeanOut
    difference: MeanOut = Field(description="Exact minus estimate.")
    agrees: bool | None = Field(
        description="True if the interval of the difference includes zero; null without one."
    )


class BudgetOut(BaseModel):
    """How a rewritten layer's loss increase over real latents divides, estimated to first order."""

    attribution_id: int
    simulator_id: int
    independence: IndependenceOrNone
    explanations: int = Field(description="Explanations in the layer rewritten.")
    contexts: int
    documents: int
    seed: int
    code_version: str
    created_at: datetime
    in_words: str = Field(description="What it says, and what to do next, in sentences.")
    entries: list[EntryOut]
    compared: list[ComparedOut] = Field(
        description="Estimates beside exact losses. The oracles are left out until a rewrite of "
        "the same explanations has measured them."
    )
