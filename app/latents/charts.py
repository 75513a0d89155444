"""The small charts of a latent's page."""

import altair as alt

from app.charts import Spec, finished, with_interval
from app.latents.queries import ShownCost
from app.rewrites.views import BEFORE, ISOTONIC, LINES, REAL, ZEROED
from app.simulators.queries import Cleanliness

COLORS = {
    "zeroed": ZEROED.color,
    "previous, isotonic": BEFORE.color,
    **{
        f"this, {line.calibration}": line.color
        for line in LINES["calibrations"]
        if line.condition == "rewritten"
    },
}
EMPHASIS = f"this, {ISOTONIC.calibration}"


def cost_chart(costs: list[ShownCost], worth: Cleanliness | None = None) -> Spec | None:
    """What zeroing, or rewriting, one latent alone costs, with intervals.

    Args:
        worth: Of the simulator.

    Returns:
        None where there is no cost to draw: the latent never fires in the evaluate set.
    """
    rows = [
        {
            "what": shown.name,
            "color": COLORS[shown.name],
            "size": 110 if shown.name == EMPHASIS else 50,
            "width": 3 if shown.name == EMPHASIS else 1.5,
            **with_interval("increase", shown.cost.mean, shown.cost.low, shown.cost.high, 5),
        }
        for shown in costs
    ]
    if all(row["increase"] is None for row in rows):
        return None
    y = alt.Y(
        "what:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=150)
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=y,
        color=alt.Color("color:N", scale=None),
        tooltip=[
            alt.Tooltip("what:N", title="only this latent"),
            alt.Tooltip("increase_words:N", title="loss increase, nats"),
        ],
    )
    title = "loss increase, nats"
    zero = (
        alt.Chart(alt.Data(values=[{"zero": 0}]))
        .mark_rule(color="currentColor", opacity=0.4)
        .encode(x="zero:Q")
    )
    chart = alt.layer(
        zero,
        base.mark_rule().encode(
            x=alt.X("increase_low:Q", title=title),
            x2="increase_high:Q",
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
        ),
        base.mark_point(filled=True, opacity=1).encode(
            x=alt.X("increase:Q", title=title, axis=alt.Axis(tickCount=3, labelFlush=False)),
            size=alt.Size("size:Q", scale=None),
        ),
    )
    return finished(chart.properties(width="container", height=26 * len(rows)), worth)


def quantile_chart(quantiles: list[float]) -> Spec:
    """A latent's activation at the quantiles of the tokens on which it fires."""
    last = len(quantiles) - 1
    rows = [{"share": i / last, "activation": value} for i, value in enumerate(quantiles)]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(color=REAL, opacity=0.35, line={"color": REAL, "strokeWidth": 2})
        .encode(
            x=alt.X(
                "share:Q",
                title="quantile of the tokens it fires on",
                axis=alt.Axis(format="~%", tickCount=4),
            ),
            y=alt.Y("activation:Q", title="activation", axis=alt.Axis(tickCount=4)),
            tooltip=[
                alt.Tooltip("share:Q", format=".0%", title="quantile"),
                alt.Tooltip("activation:Q", format=".3f"),
            ],
        )
    )
    return finished(chart.properties(width="container", height=110))
