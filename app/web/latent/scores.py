"""The scores of the shown explanation: how well it predicts its latent."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.simulators.independence import StudySimulator
from app.services.simulators.missing import Missing, missing_values
from app.web.latent.opened import Opened
from interp.vocabulary import ScoreName
from models import Score


class ScoreRow(NamedTuple):
    """One score as the table shows it."""

    name: str
    label: str
    meaning: str
    value: float | None
    low: float | None
    high: float | None
    digits: int
    n: int
    """Tokens, or answers of a language model."""
    random_baseline: float | None
    """The score that other explanations reach for this latent, or None where it is not defined."""
    random_baseline_of: str | None
    """A description of the random baseline, or None where no random baseline was measured."""

    @property
    def style(self) -> str:
        """The place of the score on a line from 0 to 1: custom properties. Below 0 is drawn at
        0."""
        places = {"v": self.value, "random-baseline": self.random_baseline}
        if self.banded:
            places |= {"low": self.low, "high": self.high}
        return ";".join(
            f"--{name}:{min(max(place, 0), 1):.3f}"
            for name, place in places.items()
            if place is not None
        )

    @property
    def banded(self) -> bool:
        """True if it has an interval to draw."""
        return self.low is not None and self.high is not None


class Scores(NamedTuple):
    """The scores of the shown version, and what they rest on."""

    simulator: StudySimulator | None
    rows: list[ScoreRow]
    simulated: bool
    first: "Basis | None"
    """Of the scores of the simulation, or None where it is not simulated."""
    scorer: "ScoringModel | None"
    missing: Missing | None
    agreement: str
    """Page of simulated against real values, token by token."""
    why_not: str
    """Why there are no scores of a simulation, where nothing can be done about it here."""
    simulate: "Simulate | None"
    """The button that simulates it."""


class Basis(NamedTuple):
    """The data that the scores of a simulation were measured on."""

    active: int | None
    """Tokens of the calibrate set on which the latent is active, or None where not recorded."""
    random_baseline_of: int
    """Number of explanations that the random baseline is the mean of, or 0 if it is not known."""
    undefined: str
    """The reason why some scores are not defined. Empty where all are."""


class ScoringModel(NamedTuple):
    """A language model that scored the explanation."""

    model: str
    failures: int
    """Questions without an answer."""


class Simulate(NamedTuple):
    """The request of the button that simulates a version."""

    to: str
    explanation_id: int | None
    """The version, or None for the current one."""


def scores(session: Session, opened: Opened, simulating: bool) -> Scores:
    """The scores of the shown version.

    Args:
        simulating: True if a job is simulating it.
    """
    shown, reached, old = opened.shown, opened.reached, opened.old
    missing = None
    if shown and reached and reached.missing:
        missing = missing_values(session, opened.study, [shown.id], opened.study.simulator_id)
    why_not, simulate = "", None
    if opened.simulated:
        pass
    elif simulating:
        why_not = "Being simulated; the scores come with it."
    elif shown is None:
        why_not = "Scores need an explanation."
    elif opened.study.simulator_id is None:
        why_not = (
            "Not simulated: this study has no simulator yet, as its activations are still being "
            "collected."
        )
    else:
        simulate = Simulate(opened.here.to("simulate"), old)
    return Scores(
        opened.simulator,
        [_row(score) for score in opened.scores],
        opened.simulated,
        _basis(opened.scores) if opened.simulated else None,
        _scoring_model(opened.scores),
        missing,
        opened.here.to("agreement", version=old),
        why_not,
        simulate,
    )


def _row(score: Score) -> ScoreRow:
    name = ScoreName(score.name)
    random_baseline_of = None
    if "random_baseline" in score.details:
        count = score.details.get("random_baseline_of")
        random_baseline_of = (
            f"Mean over {count} explanations of other latents" if count else "Chance"
        )
    return ScoreRow(
        name,
        name.label,
        name.meaning,
        score.value,
        score.low,
        score.high,
        3 if name is ScoreName.SPECIFICITY else 2,
        score.n,
        score.details.get("random_baseline"),
        random_baseline_of,
    )


def _basis(scores: list[Score]) -> Basis:
    details, undefined = scores[0].details, ""
    if any(score.value is None for score in scores):
        if scores[0].n == 0:
            undefined = "Nothing is defined, as every simulated value is missing."
        elif details.get("active") == 0:
            undefined = (
                "A score is not defined where the latent never fires in the calibrate set: there "
                "is nothing to find."
            )
        else:
            undefined = (
                "A score is not defined where the simulated or the real values are all the same."
            )
    return Basis(details.get("active"), details.get("random_baseline_of") or 0, undefined)


def _scoring_model(scores: list[Score]) -> ScoringModel | None:
    scored = [score.details for score in scores if score.simulator_id is None]
    if not scored:
        return None
    failures: dict[str, int] = scored[-1].get("failures") or {}
    return ScoringModel(str(scored[-1]["model"]).split("/")[-1], sum(failures.values()))
