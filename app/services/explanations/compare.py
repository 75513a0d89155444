"""Two explanations of a latent side by side, on the same examples."""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.explanations.diff import Change, word_diff
from app.services.explanations.schemas import (
    ChangeOut,
    ComparedExampleOut,
    ComparedOut,
    PairedOut,
    SideOut,
)
from app.services.explanations.scores import list_scores, scores_of
from app.services.latents.examples import KINDS, Lane, Token, lane_of, tokens_of
from app.services.latents.loss_effects import list_loss_effects, loss_effects_of
from app.services.schemas import Comparison, ExplanationOut
from interp.vocabulary import ExampleKind, ScoreName
from models import Context, Example, Explanation, Latent, LossEffect, Score, Study


class ComparedToken(NamedTuple):
    """A token with its real activation and what two explanations make of it."""

    text: str
    real: float
    a: Token
    b: Token


class ComparedExample(NamedTuple):
    kind: str
    rank: int
    document: str
    start: int
    tokens: list[ComparedToken]


class Side(NamedTuple):
    """One of two explanations, with what it reached under the study's simulator."""

    explanation: Explanation
    scores: list[Score]
    loss_effects: list[LossEffect]
    simulated: bool
    """Whether there are values to show on the examples."""
    calibrated: bool
    """Whether they are activations, and not raw values."""


class Paired(NamedTuple):
    """The loss effect of b minus that of a where the latent fires (isotonic), in nats."""

    comparison: Comparison
    contexts: int
    """Contexts that both were measured on."""


class Compared(NamedTuple):
    a: Side
    b: Side
    diff: tuple[Change, ...]
    """From a to b."""
    paired: Paired | None
    """None unless one was written from the other and both were measured."""
    examples: list[ComparedExample]

    @property
    def score_rows(self) -> list[tuple[ScoreName, Score | None, Score | None]]:
        """Every score that either has, by name."""
        a, b = ({score.name: score for score in side.scores} for side in (self.a, self.b))
        return [(name, a.get(name), b.get(name)) for name in ScoreName if name in a or name in b]

    @property
    def effect_rows(self) -> list[tuple[str, LossEffect | None, LossEffect | None]]:
        """Every loss effect of rewriting that either has, by calibration; then that of zeroing."""
        a, b = (
            {effect.calibration: effect for effect in side.loss_effects}
            for side in (self.a, self.b)
        )
        return [
            (name, a.get(name), b.get(name))
            for name in ("isotonic", "quantile", "linear", "none", "")
            if name in a or name in b
        ]


def compare(
    session: Session, study: Study, latent: Latent, a: Explanation, b: Explanation
) -> Compared:
    """Two versions of a latent's text: words, scores, loss effects, and values on its examples."""
    lanes = lane_of(session, study, a, "explain"), lane_of(session, study, b, "explain")
    sides = [
        Side(
            explanation,
            list_scores(session, study, explanation),
            list_loss_effects(session, study, explanation),
            bool(lane.rows),
            lane.calibration_map is not None,
        )
        for explanation, lane in zip((a, b), lanes, strict=True)
    ]
    return Compared(
        sides[0],
        sides[1],
        word_diff(a.text, b.text),
        _paired(*sides),
        _examples(session, study, latent, *lanes),
    )


def compared_out(session: Session, study: Study, compared: Compared) -> ComparedOut:
    """A comparison of two versions as JSON."""

    def side(one: Side) -> SideOut:
        return SideOut(
            explanation=ExplanationOut.model_validate(one.explanation),
            scores=scores_of(session, study, one.explanation),
            loss_effects=loss_effects_of(session, study, one.explanation),
            simulated=one.simulated,
        )

    return ComparedOut(
        a=side(compared.a),
        b=side(compared.b),
        diff=[ChangeOut.model_validate(change) for change in compared.diff],
        paired=PairedOut.model_validate(compared.paired) if compared.paired else None,
        examples=[ComparedExampleOut.model_validate(example) for example in compared.examples],
    )


def _paired(a: Side, b: Side) -> Paired | None:
    """The stored comparison of a version with the one it was written from, as b minus a."""
    effects = [
        next((c for c in s.loss_effects if c.calibration == "isotonic"), None) for s in (a, b)
    ]
    if effects[0] is None or effects[1] is None:
        return None
    fires = [
        {i for i, s in zip(c.context_ids, c.strata, strict=True) if s == "fires"}
        for c in effects
        if c is not None
    ]
    contexts = len(fires[0] & fires[1])
    if b.explanation.parent_id == a.explanation.id and effects[1].before is not None:
        return Paired(Comparison.model_validate(effects[1].before), contexts)
    if a.explanation.parent_id == b.explanation.id and effects[0].before is not None:
        return Paired(_turned(Comparison.model_validate(effects[0].before)), contexts)
    return None


def _turned(other: Comparison) -> Comparison:
    """The same comparison, the other way round."""
    negated = {
        "mean": None if other.mean is None else -other.mean,
        "low": None if other.high is None else -other.high,
        "high": None if other.low is None else -other.low,
    }
    return other.model_copy(update=negated)


def _examples(
    session: Session, study: Study, latent: Latent, a: Lane, b: Lane
) -> list[ComparedExample]:
    def tokens(example: Example, context: Context) -> list[ComparedToken]:
        each = (example.activations, context.tokens, context.strings)
        sides = (
            tokens_of(study, *each, lane.rows.get(context.id), lane.calibration_map)
            for lane in (a, b)
        )
        return [
            ComparedToken(one.text, one.real, one, two) for one, two in zip(*sides, strict=True)
        ]

    found = session.execute(
        select(Example, Context)
        .join(Context, Context.id == Example.context_id)
        .where(Example.latent_id == latent.id, Example.kind.in_(KINDS))
    )
    shown = [
        ComparedExample(
            example.kind,
            example.rank,
            context.document,
            context.start,
            tokens(example, context),
        )
        for example, context in found
    ]
    return sorted(shown, key=lambda example: (KINDS.index(ExampleKind(example.kind)), example.rank))
