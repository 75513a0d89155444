"""The charts of a latent's page."""

from functools import cache

import altair as alt

from app.services.formatting import visible
from app.services.latents.agreement import Agreement
from app.services.latents.examples import RAW_MAX
from app.services.latents.loss_effects import ShownEffect
from app.services.rewrites.views import (
    BEFORE,
    BROWN,
    GREY,
    ISOTONIC,
    LINES,
    REAL,
    SIMULATED,
    ZEROED,
)
from app.services.simulators.independence import Assessment
from app.web.charts import Spec, finished, with_data, with_interval

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


def effect_chart(effects: list[ShownEffect], assessment: Assessment | None = None) -> Spec | None:
    """The loss effect of zeroing, or rewriting, one latent alone, with intervals.

    Args:
        assessment: Of the simulator.

    Returns:
        None where there is none to draw: the latent never fires in the evaluate set.
    """
    rows = [
        {
            "what": shown.name,
            "color": COLORS[shown.name],
            "size": 110 if shown.name == EMPHASIS else 50,
            "width": 3 if shown.name == EMPHASIS else 1.5,
            **with_interval(
                "increase", shown.loss_effect.mean, shown.loss_effect.low, shown.loss_effect.high, 5
            ),
        }
        for shown in effects
    ]
    if all(row["increase"] is None for row in rows):
        return None
    return with_data(_effect_spec(len(rows)), {"loss_effects": rows}, assessment)


@cache
def _effect_spec(rows: int) -> Spec:
    base = alt.Chart(alt.NamedData("loss_effects")).encode(
        y=alt.Y(
            "what:N",
            sort=None,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=150),
        ),
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
    return finished(chart.properties(width="container", height=26 * rows))


def agreement_chart(found: Agreement, assessment: Assessment | None = None) -> Spec:
    """Simulated against real activation, a point a token, with the isotonic calibration.

    Args:
        assessment: Of the simulator.
    """
    rows = [
        {
            "raw": round(point.raw, 3),
            "real": round(point.real, 3),
            "calibrated": None if point.calibrated is None else round(point.calibrated, 3),
            "token": visible(point.token),
            "document": point.document,
        }
        for point in found.points
    ]
    data: dict[str, list[Spec]] = {"points": rows}
    if found.calibration_map:
        raw, activation = found.calibration_map
        # Constant beyond its ends.
        calibration_map = [
            (0.0, activation[0]),
            *zip(raw, activation, strict=True),
            (RAW_MAX, activation[-1]),
        ]
        data["calibration_map"] = [{"raw": x, "calibrated": y} for x, y in calibration_map]
    return with_data(_agreement_spec(found.calibration_map is not None), data, assessment)


@cache
def _agreement_spec(calibrated: bool) -> Spec:
    x = alt.X(
        "raw:Q",
        title="simulated, raw",
        scale=alt.Scale(domain=[0, RAW_MAX]),
        axis=alt.Axis(tickCount=9),
    )
    base = alt.Chart(alt.NamedData("points")).encode(
        x=x,
        y=alt.Y("real:Q", title="real activation", axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("token:N"),
            alt.Tooltip("real:Q", format=".2f"),
            alt.Tooltip("raw:Q", format=".2f", title="simulated, raw"),
            alt.Tooltip("calibrated:Q", format=".2f"),
            alt.Tooltip("document:N"),
        ],
    )
    active = alt.datum.real > 0
    layers: list[alt.Chart] = [
        base.transform_filter(~active).mark_tick(
            orient="vertical", color=GREY, size=14, thickness=1, opacity=0.5
        ),
        base.transform_filter(active).mark_point(filled=True, size=28, color=REAL, opacity=0.6),
    ]
    if calibrated:
        layers.append(
            alt.Chart(alt.NamedData("calibration_map"))
            .mark_line(color=ISOTONIC.color, strokeWidth=2.5)
            .encode(
                x=x,
                y="calibrated:Q",
                order="raw:Q",
                tooltip=[
                    alt.Tooltip("raw:Q", format=".2f", title="simulated, raw"),
                    alt.Tooltip("calibrated:Q", format=".3f"),
                ],
            )
        )
    return finished(alt.layer(*layers).properties(width="container", height=260))


RATES = {
    "sensitivity": (SIMULATED, [1, 0]),
    "precision": (BROWN, [6, 3]),
    "specificity": (GREY, [2, 2]),
}
"""Colour and dash of each share by threshold: told apart without colour too."""


def confusion_chart(found: Agreement, assessment: Assessment | None = None) -> Spec:
    """Sensitivity, precision and specificity by the threshold on the raw value.

    Args:
        assessment: Of the simulator.
    """
    rows = [
        {"threshold": round(one.threshold, 3), "rate": name, "value": getattr(one, name)}
        for one in found.curve
        for name in RATES
        if getattr(one, name) is not None
    ]
    return with_data(_confusion_spec(), {"rates": rows}, assessment)


@cache
def _confusion_spec() -> Spec:
    names = list(RATES)
    chart = (
        alt.Chart(alt.NamedData("rates"))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(
                "threshold:Q",
                title="predicted active above this raw value",
                scale=alt.Scale(domain=[0, RAW_MAX]),
                axis=alt.Axis(tickCount=9),
            ),
            y=alt.Y(
                "value:Q",
                title=None,
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="~%", tickCount=4),
            ),
            color=alt.Color(
                "rate:N",
                scale=alt.Scale(domain=names, range=[RATES[name][0] for name in names]),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "rate:N", scale=alt.Scale(domain=names, range=[RATES[name][1] for name in names])
            ),
            tooltip=[
                alt.Tooltip("rate:N", title="share"),
                alt.Tooltip("threshold:Q", format=".2f"),
                alt.Tooltip("value:Q", format=".1%"),
            ],
        )
    )
    return finished(chart.properties(width="container", height=180))
