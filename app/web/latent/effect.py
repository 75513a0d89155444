"""The loss effect of the shown explanation: it stands in for this latent alone."""

from typing import NamedTuple

from app.services.latents.loss_effects import Reworded, ShownEffect, reworded, shown_effects
from app.web.charts import Spec
from app.web.latent.charts import EMPHASIS, effect_chart
from app.web.latent.opened import Opened


class Effect(NamedTuple):
    """The loss effects of the shown version, and of the one it was written from."""

    loss_effects: list[ShownEffect]
    emphasis: str
    """Name of the one that counts."""
    chart: Spec | None
    verdict: Reworded | None
    """The comparison with the previous explanation, or None where that was not measured."""
    previous: bool
    """True if the previous explanation is among them."""
    contexts: int
    """Contexts of the evaluate set that were run."""
    fires: int
    predicted: int
    silent: int
    """In how many of them the latent fires, is only predicted active, and is silent."""
    weight: float | None
    """The share of contexts in which it fires, or None if unknown. It is their weight in the
    mean."""


def effect(opened: Opened) -> Effect | None:
    """The loss effects of the shown version, or None before they are measured."""
    reached, parent = opened.reached, opened.parent
    effects = shown_effects(
        reached.loss_effects if reached else [], parent.loss_effects if parent else []
    )
    if not effects:
        return None
    last, found = effects[-1].loss_effect, reworded(effects)
    simulator = opened.simulator
    strata = list(last.strata)
    return Effect(
        effects,
        EMPHASIS,
        effect_chart(effects, simulator.assessment if simulator else None),
        found if found and found.comparison.mean is not None else None,
        any(effect.name == "previous, isotonic" for effect in effects),
        len(last.context_ids),
        strata.count("fires"),
        strata.count("predicted"),
        strata.count("silent"),
        last.weights.get("fires"),
    )
