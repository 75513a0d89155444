"""The loss chart: loss increase against the share of the latents that is rewritten."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import altair as alt

from app.services.rewrites.queries import Results, statistics_of
from app.services.rewrites.views import (
    BASELINES,
    ISOTONIC,
    LIGHT_BLUE,
    LIGHT_ORANGE,
    LINES,
    OVERS,
    REAL,
    SIMULATED,
    ZEROED,
    Line,
    Over,
    View,
)
from app.services.simulators.independence import Assessment
from app.web.charts import Spec, finished, signed, with_interval
from interp.vocabulary import Condition
from models import RewritePoint

HEIGHT = 360
LOG_FROM = 4
"""The x axis is logarithmic when the largest share is this many times the smallest: sets double."""
LABEL_GAP = 15
"""Pixels between two labels of rules, so that close rules can both be read."""
ROOM = 2.0
"""Points dearer than this many times the dearest baseline (over real latents, than the same latents
zeroed) are beyond the chart: one calibration
that floods the layer would otherwise press all other lines flat."""


class LossChart(NamedTuple):
    """The chart, and what it leaves out."""

    spec: Spec
    beyond: list[tuple[str, float]]
    """Lines that go beyond the top of the chart, each with its largest loss increase, in nats."""


def loss_chart(
    results: Results,
    view: View,
    latents: int,
    over: Over = "untouched",
    assessment: Assessment | None = None,
    shown: Collection[str] | None = None,
    baselines: Collection[Condition] = tuple(BASELINES),
) -> LossChart:
    """One view of a rewrite: its lines, and the baselines as rules, all with 95% intervals.

    Args:
        latents: Number of latents of the coder.
        over: The condition that losses are compared with. Over real latents there are no other
            baselines, because they are far above the loss effect of a small set.
        assessment: Of the simulator.
        shown: Names of the lines and baselines to draw, by default all lines and ``baselines``.
    """
    drawn = baselines if shown is None else [one for one in BASELINES if one.label in shown]
    measured = [(one, results.baseline(one)) for one in drawn]
    chosen = [line for line in LINES[view] if shown is None or line.name in shown]
    rules = [_rule(one, point) for one, point in measured if point is not None]
    lines = [
        _mark(point, line, ordering, latents)
        for line in chosen
        for ordering in line.orderings
        for point in results.line(line, ordering)
    ]
    if over == "real_latents":
        zero = {**_over_real(0, 0, 0), "label": "real latents"}
        rules = [row | zero for row in rules if row["condition"] == "real latents"]
        lines = [row | row["over_real"] for row in lines if row["over_real"] is not None]
    measure = rules if over == "untouched" else [row for row in lines if row["zeroed"]]
    domain, beyond = _domain(rules, lines, measure)
    _place_labels(rules, domain)
    scale = alt.Scale(domain=domain, nice=False)
    y = alt.Y(title=f"loss increase {OVERS[over][0]}, nats", scale=scale)
    layers = [*_rule_layers(rules, y), *(_line_layers(lines, chosen, y) if lines else [])]
    chart = alt.layer(*layers).properties(width="container", height=HEIGHT)
    return LossChart(finished(chart, assessment), beyond)


def comparison_chart(first: Results, second: Results, latents: int) -> Spec:
    """The rewritten layer of two rewrites, and the same latents zeroed, in one chart."""
    pairs = [
        (results, line._replace(name=f"{name}, {label}", color=color, dash=dash, width=width))
        for name, results, strong, light in (
            ("A", first, SIMULATED, LIGHT_BLUE),
            ("B", second, REAL, LIGHT_ORANGE),
        )
        for line, label, color, dash, width in (
            (ISOTONIC, "rewritten", strong, (1, 0), 2.0),
            (ZEROED, "same latents zeroed", light, (2, 3), 1.0),
        )
    ]
    rows = [_mark(point, line, "score", latents) for of, line in pairs for point in of.line(line)]
    bounds = [row[c] for row in rows for c in ("increase_low", "increase_high") if row[c]]
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    margin = 0.06 * (high - low or 1.0)
    scale = alt.Scale(domain=[min(low - margin, 0.0), high + margin], nice=False)
    y = alt.Y(title="loss increase over the untouched model, nats", scale=scale)
    layers = _line_layers(rows, [line for _, line in pairs], y)
    return finished(alt.layer(*layers).properties(width="container", height=HEIGHT))


def _domain(
    rules: list[Spec], lines: list[Spec], measure: list[Spec]
) -> tuple[list[float], list[tuple[str, float]]]:
    """The y axis, and the lines that it is too short for.

    Args:
        measure: The dearest of these sets how far up the axis goes.
    """
    columns = ("increase", "increase_low", "increase_high")

    def bounds(rows: list[Spec]) -> list[float]:
        return [0.0, *(row[c] for row in rows for c in columns if row[c] is not None)]

    limit = ROOM * max(bounds(measure))
    above = [r for r in lines if r["increase"] is not None and r["increase"] > limit > 0]
    peaks: dict[str, float] = {}
    for row in above:
        peaks[row["series"]] = max(peaks.get(row["series"], 0.0), row["increase"])
    shown = bounds(rules + [row for row in lines if row not in above])
    low, high = min(shown), min(max(shown), limit) if above else max(shown)
    margin = 0.06 * (high - low or 1.0)
    return [low - (margin if low < 0 else 0), high + margin], list(peaks.items())


def _y(field: str, axis: alt.Y) -> alt.Y:
    """The shared axis, for one field of the data."""
    y = axis.copy()
    y.shorthand = field
    return y


def _rule_layers(rules: list[Spec], axis: alt.Y) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=rules))
    color = alt.Color("color:N", scale=None)
    tooltip = [
        alt.Tooltip("condition:N"),
        alt.Tooltip("increase_words:N", title="loss increase, nats"),
        alt.Tooltip("kl_words:N", title="KL divergence, nats"),
    ]
    return [
        base.mark_rect(fillOpacity=0.1).encode(
            y=_y("increase_low:Q", axis), y2="increase_high:Q", color=color
        ),
        base.mark_rule(strokeDash=[6, 4], strokeWidth=1.5).encode(
            y=_y("increase:Q", axis), color=color, tooltip=tooltip
        ),
        base.mark_text(align="left", baseline="bottom", fontSize=12, dx=4).encode(
            x=alt.value(0), y=_y("label_y:Q", axis), text="label:N", tooltip=tooltip
        ),
    ]


def _line_layers(lines: list[Spec], named: Sequence[Line], axis: alt.Y) -> list[alt.Chart]:
    fractions = [row["fraction"] for row in lines]
    ticks = sorted({row["tick"] for row in lines})
    log = max(fractions) >= LOG_FROM * min(fractions) > 0
    x = alt.X(
        "fraction:Q",
        title="share of the latents rewritten" + (", log scale" if log else ""),
        scale=alt.Scale(type="log", nice=False, padding=28)
        if log
        else alt.Scale(zero=False, nice=False, padding=28),
        axis=alt.Axis(
            labelExpr=f"format(datum.value, '.{_digits(ticks)}~p')",
            values=ticks,
            labelOverlap=True,
        ),
    )
    shown = [line for line in named if any(row["series"] == line.name for row in lines)]
    color = alt.Color(
        "series:N",
        scale=alt.Scale(domain=[line.name for line in shown], range=[line.color for line in shown]),
        legend=alt.Legend(orient="bottom", columns=2, symbolType="stroke", symbolSize=300),
    )
    base = alt.Chart(alt.Data(values=lines)).encode(x=x, color=color, detail="line:N")
    tooltip = [
        alt.Tooltip("line:N", title="condition"),
        alt.Tooltip("latents:N", title="latents"),
        alt.Tooltip("fraction:Q", format=".3~%", title="share of all latents"),
        alt.Tooltip("increase_words:N", title="loss increase, nats"),
        alt.Tooltip("kl_words:N", title="KL divergence, nats"),
        alt.Tooltip("missing:Q", format=",", title="values missing"),
        alt.Tooltip("latents_missing:Q", format=",", title="latents without any value"),
    ]
    return [
        base.mark_area(fillOpacity=0.1, clip=True).encode(
            y=_y("increase_low:Q", axis), y2="increase_high:Q"
        ),
        base.mark_rule(strokeWidth=1.5, strokeOpacity=0.5, clip=True).encode(
            y=_y("increase_low:Q", axis), y2="increase_high:Q"
        ),
        base.mark_line(clip=True).encode(
            y=_y("increase:Q", axis),
            strokeDash=alt.StrokeDash("dash:N", scale=None, legend=None),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None, legend=None),
        ),
        base.mark_point(filled=True, opacity=1, clip=True).encode(
            y=_y("increase:Q", axis),
            size=alt.Size("size:Q", scale=None, legend=None),
            tooltip=tooltip,
        ),
    ]


def _digits(shares: Sequence[float]) -> int:
    """The fewest significant digits in which shares are told apart: 60%, 5%, 0.1%."""
    return next(
        (d for d in range(2, 6) if len({f"{share:.{d}g}" for share in shares}) == len(shares)), 6
    )


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


def _rule(condition: Condition, point: RewritePoint) -> Spec:
    return {
        "condition": condition.label,
        "label": f"{condition.label} {signed(point.increase, 3)}",
        "color": BASELINES[condition],
        **_figures(point),
    }


def _mark(point: RewritePoint, line: Line, ordering: str, latents: int) -> Spec:
    real = statistics_of(point).against.real_latents
    return {
        "series": line.name,
        "line": line.called(ordering),
        "width": line.width,
        "dash": line.dash,
        "size": 25 * line.width,
        "latents": f"{point.count:,} of {latents:,}",
        "fraction": point.fraction,
        "tick": point.count / latents,
        "missing": point.missing,
        "latents_missing": missing_latents(point, latents),
        "zeroed": line.condition == "set_zeroed",
        "over_real": _over_real(real.mean, real.low, real.high) if real is not None else None,
        **_figures(point),
    }


def _over_real(mean: float | None, low: float | None, high: float | None) -> Spec:
    """The columns of a loss that is compared with real latents."""
    return with_interval("increase", mean, low, high)


def _figures(point: RewritePoint) -> Spec:
    return {
        **with_interval("increase", point.increase, point.low, point.high),
        **with_interval("kl", point.kl, point.kl_low, point.kl_high),
    }


def missing_latents(point: RewritePoint, latents: int) -> int:
    """The number of latents of a point's set without any simulated value, which stayed real."""
    return point.count - round(point.fraction * latents)
