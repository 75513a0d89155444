"""Explanations and their scores, as the API returns them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.services.fields import Input
from app.services.latents.schemas import ExampleOut, LossEffectOut
from app.services.schemas import Comparison, ExplanationOut, ScoreOut, ValueOut
from interp.cleaning import MAX_LENGTH, comment, explanation
from interp.vocabulary import ExampleKind
from jobs.drafts import Difference, Figures, Moved
from jobs.influence import Suggestion, WordInfluence


class ExplanationCreate(Input):
    """A new explanation."""

    text: Annotated[str, AfterValidator(explanation)] = Field(
        description=f"What makes the latent fire; 1 to {MAX_LENGTH:,} characters. "
        "Line breaks and tabs become spaces."
    )
    parent_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="The version this one was written from; the current one if left out.",
    )


class Draft(Input):
    """An explanation that is not saved."""

    text: Annotated[str, AfterValidator(explanation)] = Field(
        description=f"1 to {MAX_LENGTH:,} characters. Line breaks and tabs become spaces."
    )


class ReadingOut(BaseModel):
    """The text that the study's simulator reads, in three parts that follow each other without a
    gap."""

    model_config = ConfigDict(from_attributes=True)

    before: str
    explanation: str
    after: str
    note: str = Field(description="What the text does not show.")


class DraftOut(BaseModel):
    """What the study's simulator makes of a text that is not saved.

    Figures are on the calibrate set. The scores have no intervals; those come with a saved
    explanation.
    """

    current: Figures | None = Field(description="Of the current explanation; null if none.")
    draft: Figures | None
    change: Difference | None = Field(
        description="Of the correlation, from the current explanation to the draft, paired."
    )
    better: list[Moved] = Field(description="The tokens whose error shrinks most.")
    worse: list[Moved] = Field(description="The tokens whose error grows most.")
    unread: str = Field(description="The end of the text that the simulator does not read.")
    problem: str = Field(description="Reason why nothing is simulated; empty if something is.")
    seconds: float = Field(description="Time of the worker.")
    examples: list[ExampleOut] = Field(description="With the draft's simulated values.")


class InfluenceOut(BaseModel):
    """Which words of a text do the work, and which changes would help, on the calibrate set."""

    correlation: float | None = Field(description="Of the text; null where not defined.")
    words: list[WordInfluence]
    suggestions: list[Suggestion] = Field(description="Best first where they were chosen.")
    documents_chosen: int = Field(description="Documents that the suggestions were chosen on.")
    documents_checked: int = Field(description="Other documents, that they were checked on.")
    unread: str = Field(description="The end of the text that the simulator does not read.")


class CommentCreate(Input):
    """Something to say of one version."""

    text: Annotated[str, AfterValidator(comment)] = Field(
        description=f"1 to {MAX_LENGTH:,} characters; it may have several lines."
    )


class CommentOut(BaseModel):
    """A person's comment on one version."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    explanation_id: int
    author: str
    text: str
    created_at: datetime


class WrongToken(BaseModel):
    """A token near an error."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    real: float
    predicted: ValueOut


class WrongOut(BaseModel):
    """A context of the calibrate set, and the token where the simulation is most wrong."""

    model_config = ConfigDict(from_attributes=True)

    context_id: int
    document: str
    start: int = Field(description="Offset of the context in its document, in tokens.")
    position: int = Field(description="Of the token in its context.")
    at: int = Field(description="Of the token among tokens.")
    tokens: list[WrongToken] = Field(description="The token and those around it.")


class WorstOut(BaseModel):
    """The worst errors of an explanation on the calibrate set, one a context, worst first."""

    model_config = ConfigDict(from_attributes=True)

    explanation_id: int
    false_positives: list[WrongOut] = Field(description="Predicted active where it is silent.")
    false_negatives: list[WrongOut] = Field(description="Predicted less active than it is.")
    contexts: int = Field(description="Contexts that were searched.")
    missing: int = Field(description="Simulated values that are missing; none counts as an error.")
    problem: str = Field(description="Reason why there are no errors to show; empty if there are.")


class ExplanationSaved(BaseModel):
    """A saved explanation and the job that simulates it."""

    explanation: ExplanationOut
    job_id: int
    conflict: bool = Field(
        description="Somebody else saved a version after parent_id; both are in the history."
    )


class ExplanationList(BaseModel):
    """All versions of a latent's text, newest first."""

    current_id: int | None
    items: list[ExplanationOut]


class ChangeOut(BaseModel):
    """A run of words of a diff."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["kept", "added", "removed"]
    text: str


class SideOut(BaseModel):
    """One of two versions."""

    explanation: ExplanationOut
    scores: list[ScoreOut]
    loss_effects: list[LossEffectOut]
    simulated: bool = Field(description="True if it is simulated on the latent's examples.")


class PairedOut(BaseModel):
    """The loss effect of b minus that of a where the latent fires (isotonic)."""

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

    kind: ExampleKind
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
