"""The examples of a latent's page. The address names the shown ones, and their form."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from app.services.latents.examples import (
    Interval,
    Lane,
    ShownExample,
    bins,
    by_interval,
    intervals,
    list_examples,
    windows,
)
from app.services.latents.queries import around, study_and_latent
from app.web.database import Database
from app.web.html.lanes import LANES, Lanes, Look, window_html
from app.web.latent.opened import here_of, shown_version
from app.web.latents.within import Here
from app.web.params import Index, Slug, VersionId
from app.web.templates import render
from interp.vocabulary import ExampleKind
from models import Explanation, Latent, Study

router = APIRouter()

Tab = Literal["top", "interval", "random", "hard_negative"]
TABS: dict[Tab, tuple[str, tuple[ExampleKind, ...], str]] = {
    "top": (
        "Top",
        (ExampleKind.TOP,),
        "The contexts with its largest activations, strongest first.",
    ),
    "interval": (
        "By interval",
        (ExampleKind.TOP, ExampleKind.QUANTILE),
        "Contexts from all over its range, by their largest activation. The share is that of all "
        "tokens on which it fires.",
    ),
    "random": (
        "Random",
        (ExampleKind.RANDOM,),
        "Contexts drawn without regard to the latent: on most of them it is silent.",
    ),
    "hard_negative": (
        "Hard negatives",
        (ExampleKind.HARD_NEGATIVE,),
        "Contexts on which it is silent, with tokens that it fires on elsewhere.",
    ),
}
"""Label of each tab, the kinds of examples on it, and what they are."""


class ExampleView(BaseModel):
    """The choice of the examples to show, and of their form."""

    examples: Tab = "top"
    lanes: Lanes = "both"
    text: Literal["snippet", "full"] = "snippet"
    breaks: bool = False
    more: bool = False
    """True to show all examples of the kind, and not only the first ones."""


FIRST = 8
"""Examples of a kind that are shown at first. A page with all of them takes long to write."""


class Copy(NamedTuple):
    """Another example that reads the same."""

    document: str
    start: int
    """Its first shown token, counted in the document."""
    peak: float


class Item(NamedTuple):
    """An example as it is shown."""

    number: int
    """1 for the first of its kind."""
    html: Markup
    peak: float
    document: str
    start: int
    """The first shown token, counted in the document."""
    copies: list[Copy]


class Group(NamedTuple):
    """Examples of one interval, or of a whole tab."""

    interval: Interval | None
    items: list[Item]


class Choice(NamedTuple):
    """A link to another view."""

    id: str
    label: str
    current: bool
    page: str
    """Address of the whole page in that view."""
    part: str
    """Address of the examples alone in that view."""


class Shown(NamedTuple):
    """The examples of a latent in one view."""

    view: ExampleView
    tabs: list[Choice]
    toggles: dict[str, list[Choice]]
    groups: list[Group]
    """Empty where the latent has no examples at all."""
    note: str
    top: float
    """The latent's largest activation."""
    dead: bool
    """True if the latent never fires on the explain set."""
    calibrated: bool
    """True if simulated values are shown as activations, and not raw."""
    simulated: bool
    counted: bool
    """True if the shares of the intervals are counted, and not read off quantiles."""
    more: Choice | None
    """All examples, where some are left out, or the first ones alone where all are shown."""
    draft: bool = False
    """True if the simulated values are of a text that is not saved."""


def asked_view(request: Request) -> ExampleView:
    """The view that a request asks for.

    A request of htmx for parts of the page does not repeat the state in its own address. The
    address bar has it, so an event or an edit leaves the view as it is.

    Raises:
        RequestValidationError: The address asks for a view that there is not.
    """
    names = ExampleView.model_fields
    asked = {name: value for name, value in request.query_params.items() if name in names}
    try:
        view = ExampleView.model_validate(asked)
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        ) from error
    if current := request.headers.get("HX-Current-URL"):
        before = {name: value for name, value in parse_qsl(_query(current)) if name in names}
        try:
            return ExampleView.model_validate({**before, **asked})
        except ValidationError:
            return view
    return view


def _query(address: str) -> str:
    try:
        return urlsplit(address).query
    except ValueError:
        return ""


def shown_examples(
    session: Session,
    study: Study,
    latent: Latent,
    explanation: Explanation | None,
    view: ExampleView,
    here: Here,
    version: int | None,
    counts: dict[str, int],
    lane: Lane | None = None,
) -> Shown:
    """The examples of one view, with links to the others.

    Args:
        lane: Of a draft, in place of the explanation's.
        version: Named in the links, where it is not the current explanation.
        counts: The number of examples of each kind.
    """
    dead, top = latent.firing_rate == 0, latent.max_activation
    if not counts:
        return Shown(view, [], {}, [], "", top, dead, False, False, True, None)
    _, kinds, note = TABS[view.examples]
    most = max(counts.get(kind, 0) for kind in kinds)
    by_parts = view.examples != "interval" and most > FIRST
    first = FIRST if by_parts and not view.more else most
    examples = list_examples(session, study, latent, explanation, kinds, first, lane)
    look = Look(view.lanes, view.breaks, top)
    snippet = view.text == "snippet"
    if view.examples == "interval":
        examples.sort(key=lambda example: -example.peak)
        groups = [
            Group(one, _items(own, look, snippet))
            for one, own in zip(intervals(latent), by_interval(latent, examples), strict=True)
        ]
        # Where nothing fires there is nothing to show.
        groups = [one for one in groups if one.items or one.interval is None or one.interval.share]
    else:
        groups = [Group(None, _items(examples, look, snippet))]
    link = _link(here, view, version)
    calibrated = any(token.calibrated is not None for one in examples for token in one.tokens)
    simulated = any(token.simulated is not None for one in examples for token in one.tokens)
    if view.lanes == "difference" and simulated and not calibrated:
        note += " There is no difference to show: the simulation is not calibrated."
    return Shown(
        view,
        _tabs(view, counts, link),
        {
            "Lanes": [
                link(f"lanes-{name}", label, name == view.lanes, lanes=name)
                for name, label in LANES.items()
            ],
            "Text": [
                link("text-snippet", "Snippet", snippet, text="snippet"),
                link("text-full", "Full", view.text == "full", text="full"),
            ],
            "Line breaks": [
                link("breaks-off", "As signs", not view.breaks, breaks=False),
                link("breaks-on", "Shown", view.breaks, breaks=True),
            ],
        },
        groups,
        note,
        top,
        dead,
        calibrated,
        simulated,
        view.examples != "interval" or bins(latent, 1)[1],
        link("examples-more", _more(view, most), False, more=not view.more) if by_parts else None,
        lane is not None,
    )


def _more(view: ExampleView, count: int) -> str:
    return f"Show the first {FIRST} only" if view.more else f"Show all {count}"


def _items(examples: list[ShownExample], look: Look, snippet: bool) -> list[Item]:
    return [
        Item(
            window.example.rank + 1,
            window_html(window, look),
            window.example.peak,
            window.example.document,
            window.example.start + window.start,
            [Copy(one.document, one.start + window.start, one.peak) for one in window.copies],
        )
        for window in windows(examples, snippet=snippet)
    ]


def _tabs(view: ExampleView, counts: dict[str, int], link: Callable[..., Choice]) -> list[Choice]:
    tabs = []
    for tab, (label, kinds, _) in TABS.items():
        count = sum(counts.get(kind, 0) for kind in kinds)
        if count or tab == view.examples:
            tabs.append(
                link(f"examples-{tab}", f"{label} ({count})", tab == view.examples, examples=tab)
            )
    return tabs


def _link(here: Here, view: ExampleView, version: int | None) -> Callable[..., Choice]:
    default = ExampleView().model_dump()
    shown = view.model_dump()

    def link(name: str, label: str, current: bool, **changes: Any) -> Choice:
        fields = {**shown, **changes}
        # The part's address names everything, as what it leaves out is taken from the address bar.
        own = {field: value for field, value in fields.items() if value != default[field]}
        page = here.to(version=version, **own)
        return Choice(name, label, current, page, here.to("examples", version=version, **fields))

    return link


@router.get("/studies/{slug}/latents/{index}/examples")
def examples_part(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """The examples of a latent's page alone, in the view that the address says."""
    study, latent = study_and_latent(session, slug, index)
    shown = shown_version(session, latent, version)
    counts = around(session, study, latent).examples
    here, view = here_of(request, study, latent), asked_view(request)
    examples = shown_examples(session, study, latent, shown, view, here, version, counts)
    return render(request, "pages/latent/examples_part.html", {"examples": examples})
