"""A draft of an explanation: the request to the interactive worker, and its answer."""

from pydantic import BaseModel, ConfigDict

from interp.vocabulary import ExampleKind


class Message(BaseModel):
    """A part of a request or of an answer."""

    model_config = ConfigDict(frozen=True)


class DraftRequest(Message):
    """What would the study's simulator make of this text?"""

    latent: int
    """Index of the latent."""
    text: str
    """The draft, cleaned as it is when it is saved."""
    current_id: int | None = None
    """The explanation that the draft is compared with."""
    kinds: tuple[ExampleKind, ...] = ()
    """The examples to simulate."""
    examples_only: bool = False
    """True to simulate nothing but the examples. Then there are no figures and no calibration."""


class Figures(Message):
    """Scores on the calibrate set, as a saved explanation gets them. None where not defined."""

    correlation: float | None
    sensitivity: float | None
    specificity: float | None


class Difference(Message):
    """A difference with its 95% interval over documents. None where not defined."""

    value: float | None
    low: float | None
    high: float | None


class Moved(Message):
    """A token of the calibrate set that the draft predicts better or worse than the current text
    does."""

    document: str
    before: str
    token: str
    after: str
    real: float
    current: float
    """Predicted by the current explanation: calibrated, an activation."""
    draft: float


class DraftAnswer(Message):
    """What the simulator makes of a draft. Nothing of it is saved."""

    context_ids: list[int]
    """The contexts of the examples."""
    values: list[list[float | None]]
    """Raw simulated values from 0 to 9, shape (context, seq). None where there is none."""
    calibration_map: tuple[list[float], list[float]] | None = None
    """Isotonic, fitted on the calibrate set for the draft."""
    draft: Figures | None = None
    current: Figures | None = None
    """None if there is no current explanation."""
    change: Difference | None = None
    """Of the correlation, from the current explanation to the draft."""
    better: list[Moved] = []
    worse: list[Moved] = []
    unread: str = ""
    """The end of the text, if the simulator reads only its beginning."""
    problem: str = ""
    """The reason why all values are missing."""
    seconds: float = 0.0
    """At work."""
