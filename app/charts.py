"""Charts as Vega-Lite specifications, built with Altair and drawn in the browser by vega-embed.

Text and grid take the page's text colour (``currentColor``), so that charts fit light and dark.
"""

from math import isfinite
from typing import Any

import altair as alt

from app.rewrites.queries import Results
from models import LatentCost, RewritePoint

Spec = dict[str, Any]

# Okabe and Ito's palette for colour-blind readers, in tones that hold on light and dark pages.
SIMULATED, REAL = "#3d7fc4", "#d9822b"
SERIES = {
    "rewritten, isotonic": SIMULATED,
    "rewritten, quantile": "#2a9d8f",
    "rewritten, linear": "#c264a5",
    "same latents zeroed": REAL,
    "before the last edit": "#8a94a3",
    "real latents": "#2f9e63",
}
RULES = {
    "zero": ("whole MLP zeroed", "#b5483c"),
    "mean": ("whole MLP at its mean", "#8a6fc0"),
    "no_latents": ("no latents", "#a68a1c"),
    "real_latents": ("real latents", "#2f9e63"),
}
HEIGHT = 360
LOG_FROM = 4
"""The x axis is logarithmic when the largest share is this many times the smallest: sets double."""
LABEL_GAP = 15
"""Pixels between two labels of rules, so that close rules can both be read."""

CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": "currentColor",
        "tickColor": "currentColor",
        "gridColor": "currentColor",
        "gridOpacity": 0.1,
        "domainOpacity": 0.35,
        "tickOpacity": 0.35,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "labelLimit": 220,
        "symbolStrokeWidth": 3,
        "title": None,
    },
    "text": {"color": "currentColor"},
}


def loss_chart(results: Results, latents: int) -> Spec:
    """Loss increase against the fraction of latents rewritten.

    Lines: conditions measured at several numbers of latents. Rules: conditions that do not depend
    on it. Every value has its 95% interval.
    """
    points = [p for p in results.points if p.condition != "untouched"]
    rules = [_rule(p) for p in points if p.count == 0]
    lines = [_mark(p, _series(p), latents) for p in points if p.count > 0]
    lines += [_mark(p, "before the last edit", latents) for p in results.before if p.count > 0]

    bounds = [0.0] + [
        v for row in rules + lines for v in (row["low"], row["high"]) if v is not None
    ]
    bounds += [row["increase"] for row in rules + lines]
    margin = 0.06 * (max(bounds) - min(bounds) or 1.0)
    domain = [min(bounds) - (margin if min(bounds) < 0 else 0), max(bounds) + margin]
    _place_labels(rules, domain)

    scale = alt.Scale(domain=domain, nice=False)
    layers = [*_rule_layers(rules, scale), *(_line_layers(lines, scale) if lines else [])]
    return _spec(alt.layer(*layers).properties(width="container", height=HEIGHT))


def _y(field: str, scale: alt.Scale) -> alt.Y:
    return alt.Y(field, title="loss increase over the untouched model, nats", scale=scale)


def _rule_layers(rules: list[Spec], scale: alt.Scale) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=rules))
    color = alt.Color("color:N", scale=None)
    tooltip = [
        alt.Tooltip("condition:N"),
        alt.Tooltip("increase:Q", format="+.4f", title="loss increase, nats"),
        alt.Tooltip("interval:N", title="95% interval"),
    ]
    return [
        base.mark_rect(fillOpacity=0.1).encode(y=_y("low:Q", scale), y2="high:Q", color=color),
        base.mark_rule(strokeDash=[6, 4], strokeWidth=1.5).encode(
            y=_y("increase:Q", scale), color=color, tooltip=tooltip
        ),
        base.mark_text(align="left", baseline="bottom", fontSize=12, dx=4).encode(
            x=alt.value(0), y=_y("label_y:Q", scale), text="label:N", color=color, tooltip=tooltip
        ),
    ]


def _line_layers(lines: list[Spec], scale: alt.Scale) -> list[alt.Chart]:
    fractions = [row["fraction"] for row in lines]
    log = max(fractions) >= LOG_FROM * min(fractions)
    x = alt.X(
        "fraction:Q",
        title="share of the latents rewritten" + (", log scale" if log else ""),
        scale=alt.Scale(type="log", nice=False, padding=28)
        if log
        else alt.Scale(zero=False, nice=False, padding=28),
        axis=alt.Axis(format=".2~%", values=sorted(set(fractions)), labelOverlap=True),
    )
    present = [name for name in SERIES if any(row["series"] == name for row in lines)]
    color = alt.Color(
        "series:N",
        scale=alt.Scale(domain=present, range=[SERIES[name] for name in present]),
        legend=alt.Legend(orient="bottom", columns=2, symbolType="circle"),
    )
    opacity = alt.condition(
        alt.datum.series == "before the last edit", alt.value(0.5), alt.value(1.0)
    )
    base = alt.Chart(alt.Data(values=lines)).encode(x=x, color=color)
    tooltip = [
        alt.Tooltip("series:N", title="condition"),
        alt.Tooltip("latents:N", title="latents"),
        alt.Tooltip("fraction:Q", format=".3~%", title="share of all latents"),
        alt.Tooltip("increase:Q", format="+.4f", title="loss increase, nats"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("missing:Q", format=",", title="values missing"),
    ]
    return [
        base.mark_area(fillOpacity=0.14).encode(y=_y("low:Q", scale), y2="high:Q"),
        base.mark_rule(strokeWidth=1.5, strokeOpacity=0.55).encode(
            y=_y("low:Q", scale), y2="high:Q"
        ),
        base.mark_line(strokeWidth=2).encode(y=_y("increase:Q", scale), opacity=opacity),
        base.mark_point(filled=True, size=50).encode(
            y=_y("increase:Q", scale), opacity=opacity, tooltip=tooltip
        ),
    ]


def _place_labels(rules: list[Spec], domain: list[float]) -> None:
    """Give each rule's label a height at which it hides no other label.

    Labels stand above their rules, except where the next rule is too near, and the lowest one:
    lines begin just above it.
    """
    gap = LABEL_GAP * (domain[1] - domain[0]) / HEIGHT
    ordered = sorted(rules, key=lambda row: row["increase"])
    height = float("-inf")
    for number, row in enumerate(ordered):
        upper = ordered[number + 1] if number + 1 < len(ordered) else None
        near = upper is not None and upper["increase"] < row["increase"] + gap
        below = row["increase"] - 1.2 * gap
        if (near or number == 0) and below >= height + gap:
            height = below
        else:
            height = max(row["increase"], height + gap)
        row["label_y"] = height


def _rule(point: RewritePoint) -> Spec:
    name, color = RULES[point.condition]
    return {
        "condition": name,
        "label": f"{name} {point.increase:+.3f}".replace("-", "−"),
        "color": color,
        **_figures(point.increase, point.low, point.high),
    }


def _series(point: RewritePoint) -> str:
    if point.condition == "rewritten":
        return f"rewritten, {point.calibration}"
    return "same latents zeroed" if point.condition == "set_zeroed" else "real latents"


def _mark(point: RewritePoint, series: str, latents: int) -> Spec:
    return {
        "series": series,
        "latents": f"{point.count:,} of {latents:,}",
        "fraction": point.fraction,
        "missing": point.missing,
        **_figures(point.increase, point.low, point.high),
    }


def _figures(value: float, low: float, high: float) -> Spec:
    known = isfinite(low) and isfinite(high)
    return {
        "increase": value,
        "low": low if known else None,
        "high": high if known else None,
        "interval": f"{low:+.4f} to {high:+.4f}".replace("-", "−") if known else "not defined",
    }


def cost_chart(costs: list[LatentCost]) -> Spec:
    """What zeroing, or rewriting, one latent alone costs, with intervals."""
    rows = [
        {
            "what": "zeroed" if c.condition == "zeroed" else f"rewritten, {c.calibration}",
            "color": REAL if c.condition == "zeroed" else SERIES[f"rewritten, {c.calibration}"],
            **_figures(c.mean, c.low, c.high),
        }
        for c in costs
    ]
    y = alt.Y(
        "what:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=140)
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=y,
        color=alt.Color("color:N", scale=None),
        tooltip=[
            alt.Tooltip("what:N", title="condition"),
            alt.Tooltip("increase:Q", format="+.5f", title="loss increase, nats"),
            alt.Tooltip("interval:N", title="95% interval"),
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
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("increase:Q", title=title, axis=alt.Axis(tickCount=4))
        ),
    )
    return _spec(chart.properties(width="container", height=26 * len(rows)))


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
    return _spec(chart.properties(width="container", height=110))


def _spec(chart: alt.TopLevelMixin) -> Spec:
    # Checked by a test; checking it at every request would take most of the page's time.
    spec: Spec = chart.to_dict(validate=False)
    spec["config"] = CONFIG
    return spec
