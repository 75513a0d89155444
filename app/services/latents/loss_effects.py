"""Loss effects of single latents, in the database."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    any_,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from app.services.latents.schemas import LossEffectOut
from app.services.rows import columns
from app.services.schemas import Comparison
from app.services.simulators.independence import independence_of
from models import Explanation, LossEffect, Study


class ShownEffect(NamedTuple):
    """A loss effect as the page of its latent names it."""

    name: str
    loss_effect: LossEffect


class Reworded(NamedTuple):
    """The loss effect of an explanation compared with that of the explanation it was written
    from."""

    comparison: Comparison
    contexts: int
    """Contexts in which the latent fires, and on which both were measured."""


_LOSS_EFFECTS = (
    select(LossEffect)
    .where(
        LossEffect.explanation_id == any_(bindparam("explanations", type_=ARRAY(BigInteger))),
        LossEffect.simulator_id == bindparam("simulator"),
        or_(
            LossEffect.calibration == "isotonic",
            LossEffect.explanation_id == bindparam("whole"),
        ),
    )
    .order_by(
        func.array_position(["", "isotonic", "quantile", "linear", "none"], LossEffect.calibration)
    )
)


def list_loss_effects(session: Session, study: Study, explanation: Explanation) -> list[LossEffect]:
    """The loss effects of an explanation under the study's simulator: zeroed first, then
    rewritten."""
    return loss_effects_by_explanation(session, study, [explanation.id], explanation.id)[
        explanation.id
    ]


def loss_effects_of(
    session: Session, study: Study, explanation: Explanation
) -> list[LossEffectOut]:
    """Loss effects of an explanation under the study's simulator."""
    independence = independence_of(session, study, study.simulator_id)
    return [
        LossEffectOut.model_validate({**columns(effect), "independence": independence})
        for effect in list_loss_effects(session, study, explanation)
    ]


def loss_effects_by_explanation(
    session: Session, study: Study, explanation_ids: Collection[int], whole: int | None
) -> dict[int, list[LossEffect]]:
    """The loss effects of rewriting latents with explanations, isotonic.

    Args:
        whole: The explanation of which all loss effects are read.
    """
    found: dict[int, list[LossEffect]] = {number: [] for number in explanation_ids}
    values = {"explanations": list(found), "simulator": study.simulator_id, "whole": whole}
    for effect in session.scalars(_LOSS_EFFECTS, values):
        found[effect.explanation_id].append(effect)
    return found


def shown_effects(effects: list[LossEffect], previous: list[LossEffect]) -> list[ShownEffect]:
    """Loss effects of an explanation and of the one it was written from: zeroed, previous, this."""
    zeroed = [ShownEffect("zeroed", effect) for effect in effects if effect.condition == "zeroed"]
    before = [
        ShownEffect("previous, isotonic", effect)
        for effect in previous
        if effects and effect.calibration == "isotonic"
    ]
    this = [
        ShownEffect(f"this, {effect.calibration}", effect)
        for effect in effects
        if effect.condition == "rewritten"
    ]
    return [*zeroed, *before, *this]


def reworded(effects: list[ShownEffect]) -> Reworded | None:
    """The test of a new explanation against its parent where the latent fires, under isotonic
    calibration."""
    named = dict(effects)
    this, previous = named.get("this, isotonic"), named.get("previous, isotonic")
    if this is None or previous is None or this.before is None:
        return None
    firing = {
        i for i, stratum in zip(this.context_ids, this.strata, strict=True) if stratum == "fires"
    }
    shared = firing.intersection(previous.context_ids)
    return Reworded(Comparison.model_validate(this.before), len(shared))
