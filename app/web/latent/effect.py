"""The cost of the shown explanation: the loss when it stands in for this latent alone."""

from typing import NamedTuple

from app.services.latents.costs import Reworded, ShownCost, reworded, shown_costs
from app.web.charts import Spec
from app.web.latent.charts import EMPHASIS, cost_chart
from app.web.latent.opened import Opened


class Effect(NamedTuple):
    """The costs of the shown version, and of the one it was written from."""

    costs: list[ShownCost]
    emphasis: str
    """Name of the cost that counts."""
    chart: Spec | None
    verdict: Reworded | None
    """The comparison of this explanation with the previous one, or None where that was not measured."""
    previous: bool
    """True if the previous explanation is among the costs."""
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
    """The costs of the shown version, or None before they are measured."""
    reached, parent = opened.reached, opened.parent
    costs = shown_costs(reached.costs if reached else [], parent.costs if parent else [])
    if not costs:
        return None
    last, found = costs[-1].cost, reworded(costs)
    simulator = opened.simulator
    strata = list(last.strata)
    return Effect(
        costs,
        EMPHASIS,
        cost_chart(costs, simulator.assessment if simulator else None),
        found if found and found.comparison.mean is not None else None,
        any(cost.name == "previous, isotonic" for cost in costs),
        len(last.context_ids),
        strata.count("fires"),
        strata.count("predicted"),
        strata.count("silent"),
        last.weights.get("fires"),
    )
