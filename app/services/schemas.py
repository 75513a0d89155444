"""Objects that several subjects return."""

from datetime import datetime
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field

from interp.vocabulary import AuthorKind, Independence, ScoreName, ValueState, Verdict

Number = Annotated[
    float | None, BeforeValidator(lambda x: None if x is None or not isfinite(x) else x)
]
"""A figure; null where it is not defined."""
IndependenceOut = Annotated[
    Independence,
    Field(
        description="Independence of the simulator. contaminated: it was trained on text "
        "that it is measured on; unknown: it may have been; same model: it runs on the subject "
        "model; same family: on one of its family, by its name; independent: none of these."
    ),
]
IndependenceOrNone = Annotated[
    Independence | None,
    Field(description="See the simulators of a study. Null where no simulator is involved."),
]


class MeanOut(BaseModel):
    """A mean with its 95% interval."""

    model_config = ConfigDict(from_attributes=True)

    value: Number
    low: Number
    high: Number


class ValueOut(BaseModel):
    """The predicted value of one token."""

    model_config = ConfigDict(from_attributes=True)

    state: ValueState
    raw: Number = Field(
        validation_alias="simulated", description="0 to 9; null where there is none."
    )
    calibrated: Number = Field(description="The raw value as an activation (isotonic).")


class ExplanationOut(BaseModel):
    """One version of a latent's text."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    author_kind: AuthorKind
    author: str
    prompt_version: str | None
    parent_id: int | None
    details: dict[str, Any]
    created_at: datetime


class ScoreOut(BaseModel):
    """A score of one explanation: how well it predicts its latent."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    simulator_id: int | None = Field(
        description="Null for the score of a language model, which details name."
    )
    name: ScoreName
    value: Number = Field(description="Null where it is not defined.")
    low: Number
    high: Number
    n: int = Field(description="Examples it rests on: tokens, or answers of a language model.")
    details: dict[str, Any] = Field(
        description="Its basis: active, tokens that the latent is active on; random_baseline, "
        "the mean of the same figure over random_baseline_of explanations of other latents, or "
        "chance; model, failures and usage of a language model."
    )
    independence: IndependenceOrNone


SIGNIFICANCE = 0.05


def _minus(figure: Number) -> Number:
    return None if figure is None else -figure


class Comparison(BaseModel):
    """A loss minus the one that it is compared with, paired context by context, in nats."""

    mean: Number = None
    low: Number = None
    high: Number = Field(default=None, description="Bounds of the 95% interval over documents.")
    p: Number = Field(default=None, description="Two-sided sign-flip test over documents.")
    detectable: Number = Field(
        default=None, description="Smallest difference found with 80% power at the 5% level."
    )
    contexts_needed: Number = Field(
        default=None, description="Contexts it takes to tell the observed difference so."
    )

    def reversed(self) -> "Comparison":
        """The other loss minus this one."""
        return self.model_copy(
            update={"mean": _minus(self.mean), "low": _minus(self.high), "high": _minus(self.low)}
        )

    @computed_field(  # type: ignore[prop-decorator]
        description="Whether it is lower than the one that it is compared with: told only if the "
        "interval leaves out zero and p is below 0.05."
    )
    @property
    def verdict(self) -> Verdict:
        """The verdict on this loss against the other."""
        if self.low is None or self.high is None or self.p is None or self.p >= SIGNIFICANCE:
            return Verdict.CANNOT_TELL
        if self.high < 0:
            return Verdict.LOWER
        return Verdict.HIGHER if self.low > 0 else Verdict.CANNOT_TELL
