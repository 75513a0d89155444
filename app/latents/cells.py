"""The figures of a latent in the list as HTML.

Written in Python and not in a template, as a page has hundreds of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from app.latents.schemas import Column
from app.templates import figure, interval, percent

Row = Mapping[str, Any]


def cells_html(row: Row, columns: Sequence[tuple[Column, str]]) -> Markup:
    """The chosen columns of a row.

    Args:
        columns: Name of each column, and its heading.
    """
    return Markup(
        "".join(
            [
                f'<td{"" if name == "author" else _NUMBER} data-label="{heading}">'
                f"{_written(name, row)}</td>"
                for name, heading in columns
            ]
        )
    )


_NUMBER = ' class="n"'


def _written(name: Column, row: Row) -> str:
    match name:
        case "firing_rate":
            return _firing_rate(row)
        case "correlation":
            return _correlation(row)
        case "specificity":
            return figure(row[name], 3)
        case "cost":
            return figure(row[name], 5, sign=True)
        case "author":
            return _author(row)
    return figure(row[name], 2)


def _firing_rate(row: Row) -> str:
    if row["firing_rate"] > 0:
        return percent(row["firing_rate"])
    # Without an explanation the text says so already.
    explained = row["explanation"] is not None
    return '<span class="status">dead</span>' if explained else '<span class="muted">0%</span>'


def _author(row: Row) -> str:
    name, by = escape(row["author"] or "–"), row["imported_by"]
    return f'{name} <span class="muted">(imported by {escape(by)})</span>' if by else str(name)


def _correlation(row: Row) -> str:
    value = row["correlation"]
    if value is None:
        return figure(value)
    bounds = interval(row["correlation_low"], row["correlation_high"], 2)
    return f'{figure(value, 2)} <span class="interval">{bounds}</span>'
