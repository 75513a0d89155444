"""The list of latents as HTML, row by row.

Written in Python and not in a template, as a page has hundreds of cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from app.services.formatting import figure, interval, percent
from app.services.latents.filter_schemas import Column
from app.web.html.escaping import text
from app.web.roles import may
from app.web.templates import environment
from app.web.urls import url, with_query
from interp.vocabulary import Role

Row = Mapping[str, Any]


def rows_html(
    rows: Sequence[Row],
    columns: Sequence[tuple[Column, str]],
    study: str,
    state: dict[str, Any],
    by_meaning: bool,
) -> Markup:
    """The rows of the list.

    Args:
        columns: Name of each chosen column, and its heading.
        study: Slug of the study.
        state: The list in an address, for the pages of its latents to know it.
        by_meaning: True to add a column with the distance of each.
    """
    cells = [
        (name, f'<td{"" if name == "author" else _NUMBER} data-label="{text(heading)}">')
        for name, heading in columns
    ]
    # A latent's address but for its index: looking each up would take longer than the rest.
    here, query = text(url("latents", study)), text(with_query(state))
    return Markup("".join([_row(row, cells, here, query, by_meaning) for row in rows]))


def _row(row: Row, cells: list[tuple[Column, str]], here: str, query: str, by_meaning: bool) -> str:
    index = row["index"]
    address = f"{here}/{index}{query}"
    near = f'<td{_NUMBER} data-label="nearness">{figure(row["nearness"], 2)}</td>'
    written = "".join([f"{begin}{_written(name, row)}</td>" for name, begin in cells])
    return f"""<tr id="row-{index}">
        <td class="mark">{_mark(f"{here}/{index}/star", index, row["starred"])}</td>
        <th scope="row"><a href="{address}">{index}</a></th>
        <td class="text" data-label="explanation">{_explanation(row, address)}</td>
        {near if by_meaning else ""}{written}
      </tr>
      """


def _mark(at: str, index: int, starred: bool) -> str:
    star = _star(at, index, starred)
    if not may(Role.EDITOR):
        return star
    return (
        f'<input type="checkbox" form="latents-form" name="latents" value="{index}" '
        f'aria-label="Choose latent {index}">{star}'
    )


def star_html(study: str, index: int, starred: bool) -> Markup:
    """The star of a latent: a button of the form that the page has for its latents."""
    return Markup(_star(text(url("star", study, index)), index, starred))


def _star(at: str, index: int, starred: bool) -> str:
    if not may(Role.EDITOR):
        return '<span role="img" aria-label="starred">★</span>' if starred else ""
    on, pressed, sign = ("false", "true", "★") if starred else ("true", "false", "☆")
    return (
        f'<button class="star" form="latents-form" formmethod="post" formaction="{at}" name="on" '
        f'value="{on}" aria-label="Star latent {index}" aria-pressed="{pressed}" hx-post="{at}" '
        'hx-params="on" hx-swap="outerHTML" hx-target="this" hx-select="button">'
        f"{sign}</button>"
    )


environment.globals["rows_html"] = rows_html
_NUMBER = ' class="n"'


def _explanation(row: Row, address: str) -> str:
    if row["explanation"]:
        words = text(row["explanation"])
        return f'<a href="{address}" title="{words}">{words}</a>'
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
        case "loss_effect" | "estimated_effect":
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
    name, by = text(row["author"] or "–"), row["imported_by"]
    return f'{name} <span class="muted">(imported by {text(by)})</span>' if by else name


def _correlation(row: Row) -> str:
    value = row["correlation"]
    if value is None:
        return figure(value)
    bounds = interval(row["correlation_low"], row["correlation_high"], 2)
    return f'{figure(value, 2)} <span class="interval">{bounds}</span>'
