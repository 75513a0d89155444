"""Charts as Vega-Lite specifications, built with Altair and drawn in the browser by vega-embed.

Text and grid take the page's text colour (``currentColor``), so that charts fit light and dark.
"""

from math import isfinite
from typing import Any

import altair as alt

from app.services.simulators.independence import Assessment
from interp.vocabulary import Independence

Spec = dict[str, Any]

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
    "title": {"color": "currentColor", "fontSize": 12, "anchor": "start", "offset": 12},
}


WARNINGS: dict[Independence, str] = {
    Independence.CONTAMINATED: "Contaminated: the simulator was trained on text that it is "
    "measured on",
    Independence.UNKNOWN: "The simulator may have been trained on text that it is measured on",
    Independence.SAME_FAMILY: "The simulator runs on a model of the subject's family",
    Independence.SAME_MODEL: "The simulator runs on the subject model itself",
}
"""The lines above a chart, and so in every picture that is saved of it."""


def finished(chart: alt.TopLevelMixin, assessment: Assessment | None = None) -> Spec:
    """The specification of a chart, with the look that all charts have.

    Args:
        assessment: Of the simulator whose figures it shows, if it shows any.
    """
    # Checked by a test; checking it at every request would take most of the page's time.
    return with_data({**chart.to_dict(validate=False), "config": CONFIG}, {}, assessment)


def with_data(
    spec: Spec, rows: dict[str, list[Spec]], assessment: Assessment | None = None
) -> Spec:
    """A finished specification, with rows for the data that it names.

    Altair takes tens of milliseconds to write one: a chart that is on many pages is written once.

    Args:
        assessment: Of the simulator whose figures it shows, if it shows any.
    """
    spec = {**spec, "datasets": rows} if rows else spec
    if assessment is not None and assessment.independence in WARNINGS:
        spec = {**spec, "title": WARNINGS[assessment.independence]}
    return spec


def signed(value: float, digits: int = 4) -> str:
    """A difference, with a minus as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def with_interval(
    name: str, value: float | None, low: float | None, high: float | None, digits: int = 4
) -> Spec:
    """A figure and its 95% interval as columns of a chart's data, and as words for its tooltip.

    Undefined values are null in the data, so that nothing is drawn for them.
    """
    known = [v if v is not None and isfinite(v) else None for v in (value, low, high)]
    words = "not defined"
    if known[0] is not None:
        words = signed(known[0], digits)
        if known[1] is not None and known[2] is not None:
            words += f" [{signed(known[1], digits)}, {signed(known[2], digits)}]"
        else:
            words += ", no interval"
    return {
        name: known[0],
        f"{name}_low": known[1],
        f"{name}_high": known[2],
        f"{name}_words": words,
    }
