"""The panel “Fit” in the form of a study: what an inspection of its coder finds.

Its buttons send the whole form, so nothing typed is lost, and the answer is the form again.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError

from app.services.errors import FieldErrors, NotFound
from app.services.inspections import queries
from app.services.inspections.schemas import InspectionCreate
from app.web.errors import messages
from app.web.forms import fields_of
from interp.coders.findings import Measured, MeasuredSite, Question
from interp.vocabulary import CoderFit
from jobs import inspections
from jobs.inspections import Inspection, NotTaken

SHOWN = 8
"""Sites that the table shows, besides the first."""
LABELS = {
    "model": "Model",
    "model_revision": "Model revision",
    "dtype": "Number format",
    "coder": "Sparse coder",
    "hookpoint": "Hookpoint",
    "reads": "Site read",
    "reading": "Reading",
    "corpus": "Corpus",
    "context_length": "Context length",
    "prepend_bos": "Beginning-of-sequence token",
    "leave_out": "Positions left out",
}
"""Labels of the fields that an inspection reads."""
SITE = ("hookpoint", "reads", "reading")
"""The fields that a row of the table is of."""


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
    changed: tuple[str, ...] = ()
    """Labels of the fields that the form has changed since it was inspected."""

    @property
    def used(self) -> Row | None:
        """The site that the form names, if the table shows it."""
        return next((row for row in self.rows if row.used), None)

    @property
    def measured(self) -> Measured | None:
        """What was measured, if it is."""
        return self.inspection.measured if self.inspection else None

    @property
    def site(self) -> MeasuredSite | None:
        """What was measured where the form has the coder, or else where it had it."""
        if self.used:
            return self.used.site
        return self.measured.sites[0] if self.measured else None

    @property
    def fit(self) -> CoderFit | None:
        """Where the coder fits, as the form has it. None before it is measured."""
        found, used = self.measured, self.used
        if found is None or used is None or used.number == 0:
            return found.fit if found else None
        if used.site.fits:
            return CoderFit.HERE
        return CoderFit.NOWHERE if found.best is None else CoderFit.ELSEWHERE

    @property
    def better(self) -> MeasuredSite | None:
        """The best site, if the form has another one."""
        best = self.measured.best if self.measured else None
        if self.measured is None or best is None or best == (self.used.number if self.used else 0):
            return None
        return self.measured.sites[best]

    @property
    def asked(self) -> bool:
        """True if the form named the first site or its reading. Else the coder's files named it."""
        one = self.inspection
        return one is not None and any(getattr(one.question, name) for name in SITE)


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
    view = shown(values, filled)
    for row in view.rows:
        if str(row.number) == values.get("use") and view.inspection and view.inspection.files:
            fields = queries.fields_of(view.inspection.question, view.inspection.files, row.site)
            values = values | fields
            return Answered(values, shown(values, {**filled, **fields}))
    return Answered(values, view)


def shown(values: dict[str, str], filled: dict[str, str]) -> InspectionView:
    """The inspection that a form names, as it is now, and whether it is still of the form.

    Args:
        values: The form as it was sent.
        filled: Its fields that are not empty.
    """
    if not (id := values.get("inspection", "")):
        return NOTHING
    try:
        found = queries.get_inspection(id)
    except NotFound as error:
        return _problem("", str(error))
    asked = found.question
    if found.measured is None or found.files is None:
        return InspectionView(found, changed=_changed(filled, [asked]))
    sites = found.measured.sites
    rows, same = [], []
    for number, site in enumerate(sites[: SHOWN + 1]):
        fields = queries.fields_of(asked, found.files, site)
        ways = [asked.model_copy(update=fields), *([] if number else [asked])]
        says = [way for way in ways if _says(values, way)]
        rows.append(Row(number, site, bool(says)))
        same += says
    hidden = max(0, len(sites) - len(rows))
    return InspectionView(found, tuple(rows), hidden, changed=_changed(filled, [asked, *same]))


def _says(values: dict[str, str], way: Question) -> bool:
    """True if a form names the sites and the reading of an inspection."""
    return all(values.get(name, "").strip() == getattr(way, name) for name in SITE)


def _changed(filled: dict[str, str], ways: Iterable[Question]) -> tuple[str, ...]:
    """Labels of the fields of a form that differ from an inspection's, in its most alike way."""
    try:
        now = queries.question_of(_sources(filled))
    except ValidationError as error:
        names = {*messages(error)}
    else:
        names = min(({*_differing(now, way)} for way in ways), key=len)
    return tuple(label for name, label in LABELS.items() if name in names)


def _differing(now: Question, way: Question) -> Iterable[str]:
    """Names of the fields in which two inspections differ."""
    for name in LABELS:
        field = "first_position" if name == "leave_out" else name
        if getattr(now, field) != getattr(way, field):
            yield name


def _start(values: dict[str, str], filled: dict[str, str]) -> Answered:
    """Begin an inspection, in place of the one that is shown."""
    inspections.give_up(values.get("inspection", ""))
    try:
        found = queries.begin(_sources(filled))
    except NotTaken as error:
        return Answered(values, _problem("", str(error)))
    except (ValidationError, FieldErrors) as error:
        wrong = messages(error) if isinstance(error, ValidationError) else error.errors
        problems = tuple((LABELS.get(name, ""), text) for name, text in wrong.items())
        return Answered(values, InspectionView(problems=problems), 422)
    return Answered(values, InspectionView(found))


def _sources(filled: dict[str, str]) -> InspectionCreate:
    return InspectionCreate.model_validate(fields_of(filled, InspectionCreate))


def _problem(label: str, text: str) -> InspectionView:
    return InspectionView(problems=((label, text),))
