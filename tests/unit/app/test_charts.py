"""Charts from figures alone."""

import pytest

from app.services.latents.loss_effects import ShownEffect
from app.services.schemas import Comparison
from app.web.latent.charts import effect_chart
from models import LossEffect
from tests.reading import chart_values


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-0.3, -0.1, 0.01, "lower"),
        (0.1, 0.3, 0.01, "higher"),
        (-0.1, 0.3, 0.01, "cannot tell"),
        (-0.3, -0.1, 0.2, "cannot tell"),
        (-0.3, -0.1, None, "cannot tell"),
        (None, None, 0.01, "cannot tell"),
    ],
)
def test_a_difference_is_told_only_if_interval_and_test_agree(
    low: float | None, high: float | None, p: float | None, verdict: str
) -> None:
    assert Comparison(mean=0.1, low=low, high=high, p=p).verdict == verdict


def test_a_comparison_the_other_way_round() -> None:
    there = Comparison(mean=0.1, low=-0.05, high=0.3, p=0.2, detectable=0.2, contexts_needed=90)
    back = there.reversed()
    assert (back.mean, back.low, back.high) == (-0.1, -0.3, 0.05)
    assert (back.p, back.detectable, back.contexts_needed) == (0.2, 0.2, 90)
    assert Comparison(mean=0.2, low=0.1, high=0.3, p=0.01).reversed().verdict == "lower"
    assert Comparison(mean=0.2).reversed() == Comparison(mean=-0.2), "what is missing stays so"


def test_a_loss_effect_without_an_interval_is_a_point_without_a_rule() -> None:
    effect = LossEffect(condition="rewritten", calibration="isotonic", mean=0.001)
    (row,) = [
        row
        for row in chart_values(effect_chart([ShownEffect("this, isotonic", effect)]) or {})
        if "increase" in row
    ]
    assert row["increase"] == 0.001
    assert row["increase_low"] is row["increase_high"] is None
    assert row["increase_words"] == "+0.00100, no interval"


def test_a_latent_that_never_fires_there_has_no_loss_effect_chart() -> None:
    unknown = LossEffect(condition="zeroed", calibration="", mean=None, low=None, high=None)
    assert effect_chart([ShownEffect("zeroed", unknown)]) is None
