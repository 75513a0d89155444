"""The list of latents as HTML, row by row.

Written in Python and not in a template, as a page has hundreds of cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from app.services.formatting import figure, interval, percent
from app.services.latents.filter_schemas import Column
from app.web.templates import templates

Row = Mapping[str, Any]


def row_html(
    row: Row, columns: Sequence[tuple[Column, str]], here: str, state: str, by_meaning: bool
) -> Markup:
    """A latent in the list.

    Args:
        columns: Name of each chosen column, and its heading.
        here: Address of the list's page.
        state: Query string that tells the latent's page the list.
        by_meaning: True if a column shows the distance in meaning.
    """
    index = row["index"]
    address = f"{here}/{index}{f'?{escape(state)}' if state else ''}"
    near = f'<td{_NUMBER} data-label="nearness">{figure(row["nearness"], 2)}</td>'
    cells = [
        f'<td{"" if name == "author" else _NUMBER} data-label="{heading}">'
        f"{_written(name, row)}</td>"
        for name, heading in columns
    ]
    return Markup(
        f"""<tr>
        <td class="mark"><input type="checkbox" form="latents-form" name="latents" value="{index}" \
aria-label="Choose latent {index}">{star_html(here, index, row["starred"])}</td>
        <th scope="row"><a href="{address}">{index}</a></th>
        <td class="text" data-label="explanation">{_explanation(row, address)}</td>
        {near if by_meaning else ""}{"".join(cells)}
      </tr>
      """
    )


def star_html(here: str, index: int, starred: bool) -> Markup:
    """The star of a latent: a button of the form that the page has for its latents."""
    at = f"{here}/{index}/star"
    on, pressed, sign = ("false", "true", "★") if starred else ("true", "false", "☆")
    return Markup(
        f'<button class="star" form="latents-form" formmethod="post" formaction="{at}" name="on" '
        f'value="{on}" aria-label="Star latent {index}" aria-pressed="{pressed}" hx-post="{at}" '
        'hx-params="on" hx-swap="outerHTML" hx-target="this" hx-select="button">'
        f"{sign}</button>"
    )


templates.env.globals["star"] = star_html
_NUMBER = ' class="n"'


def _explanation(row: Row, address: str) -> str:
    if row["explanation"]:
        text = escape(row["explanation"])
        return f'<a href="{address}" title="{text}">{text}</a>'
    if row["firing_rate"] == 0:
        return '<span class="status">dead</span> <span class="muted">never fires here</span>'
    return '<span class="muted">no explanation yet</span>'


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
