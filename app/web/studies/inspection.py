"""The panel “Fit” in the form of a study: what an inspection of its coder finds.

Its buttons send the whole form, so nothing typed is lost, and the answer is the form again.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from app.services.errors import FieldErrors, NotFound
from app.services.inspections import queries
from app.services.inspections.schemas import InspectionCreate
from app.web.errors import messages
from interp.coders.findings import MeasuredSite
from jobs import inspections
from jobs.inspections import Inspection, NotTaken

SHOWN = 8
"""Sites that the table shows, besides the first."""
LABELS = {
    "model": "Model",
    "model_revision": "Model revision",
    "coder": "Sparse coder",
    "hookpoint": "Hookpoint",
    "reads": "Site read",
    "reading": "Reading",
    "corpus": "Corpus",
    "context_length": "Context length",
    "leave_out": "Positions left out",
}
"""Labels of the fields that an inspection reads."""


class Row(NamedTuple):
    """A measured site in the table."""

    number: int
    site: MeasuredSite
    used: bool
    """True if the form says so."""


class InspectionView(NamedTuple):
    """What the panel shows."""

    inspection: Inspection | None = None
    rows: tuple[Row, ...] = ()
    hidden: int = 0
    """Sites that were measured and are not shown."""
    problems: tuple[tuple[str, str], ...] = ()
    """The reasons why there is no inspection: the label of a field, or nothing, and a sentence."""


NOTHING = InspectionView()
"""The panel before there is an inspection."""


class Answered(NamedTuple):
    """The form after one of the panel's buttons."""

    values: dict[str, str]
    view: InspectionView
    status: int = 200


def is_asked(values: dict[str, str]) -> bool:
    """True if a button of the panel sent the form."""
    return "inspect" in values or "use" in values


def answer(values: dict[str, str], filled: dict[str, str]) -> Answered:
    """Do what a button of the panel asks for.

    Args:
        values: The form as it was sent. Its ``inspection`` names the one that the panel shows.
        filled: Its fields that are not empty.
    """
    match values.get("inspect"):
        case "start":
            return _start(values, filled)
        case "stop":
            inspections.give_up(values.get("inspection", ""))
            return Answered(values, NOTHING)
    view = shown(values)
    for row in view.rows:
        if str(row.number) == values.get("use") and view.inspection and view.inspection.files:
            fields = queries.fields_of(view.inspection.question, view.inspection.files, row.site)
            values = values | fields
            return Answered(values, shown(values))
    return Answered(values, view)


def shown(values: dict[str, str]) -> InspectionView:
    """The inspection that a form names, as it is now."""
    if not (id := values.get("inspection", "")):
        return NOTHING
    try:
        found = queries.get_inspection(id)
    except NotFound as error:
        return _problem("", str(error))
    if found.measured is None or found.files is None:
        return InspectionView(found)
    sites, asked = found.measured.sites, found.question
    used = [
        _says(values, queries.fields_of(asked, found.files, site))
        or (number == 0 and _says(values, asked.model_dump()))
        for number, site in enumerate(sites[: SHOWN + 1])
    ]
    rows = tuple(Row(n, site, use) for n, (site, use) in enumerate(zip(sites, used, strict=False)))
    return InspectionView(found, rows, max(0, len(sites) - len(rows)))


def _says(values: dict[str, str], wanted: Mapping[str, object]) -> bool:
    """True if a form names the sites and the reading that are wanted."""
    return all(values.get(n, "").strip() == wanted[n] for n in ("hookpoint", "reads", "reading"))


def _start(values: dict[str, str], filled: dict[str, str]) -> Answered:
    """Begin an inspection, in place of the one that is shown."""
    inspections.give_up(values.get("inspection", ""))
    try:
        found = queries.begin(InspectionCreate.model_validate(filled))
    except NotTaken as error:
        return Answered(values, _problem("", str(error)))
    except (ValidationError, FieldErrors) as error:
        wrong = messages(error) if isinstance(error, ValidationError) else error.errors
        problems = tuple((LABELS.get(name, ""), text) for name, text in wrong.items())
        return Answered(values, InspectionView(problems=problems), 422)
    return Answered(values, InspectionView(found))


def _problem(label: str, text: str) -> InspectionView:
    return InspectionView(problems=((label, text),))
