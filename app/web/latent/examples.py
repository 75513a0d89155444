"""What of a latent's examples is shown, all of it in the address."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from markupsafe import Markup
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from app.services.latents.examples import (
    Interval,
    ShownExample,
    Window,
    bins,
    by_interval,
    intervals,
    list_examples,
    windows,
)
from app.services.latents.schemas import Kind
from app.web.html.lanes import LANES, Lanes, Look, window_html
from app.web.latents.within import Kept, kept
from models import Explanation, Latent, Study

Tab = Literal["top", "interval", "random", "near_miss"]
TABS: dict[Tab, tuple[str, tuple[Kind, ...], str]] = {
    "top": (
        "Top",
        ("top",),
        "The contexts with its largest activations, strongest first.",
    ),
    "interval": (
        "By interval",
        ("top", "quantile"),
        "Contexts from all over its range, by their largest activation. The share is that of all "
        "tokens on which it fires.",
    ),
    "random": (
        "Random",
        ("random",),
        "Contexts drawn without regard to the latent: on most of them it is silent.",
    ),
    "near_miss": (
        "Near misses",
        ("near_miss",),
        "Contexts on which it is silent, with tokens that it fires on elsewhere.",
    ),
}
"""Label of each tab, the kinds of examples on it, and what they are."""


class ExampleView(BaseModel):
    """Which examples are shown, and how."""

    examples: Tab = "top"
    lanes: Lanes = "both"
    text: Literal["snippet", "full"] = "snippet"
    breaks: bool = False


class AskedView(ExampleView):
    """A view, and the list that its latent was opened from."""

    within: Kept = Kept({})


class Item(NamedTuple):
    """An example as it is shown."""

    window: Window
    html: Markup

    @property
    def example(self) -> ShownExample:
        return self.window.example


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

    view: AskedView
    tabs: list[Choice]
    toggles: dict[str, list[Choice]]
    groups: list[Group]
    note: str
    calibrated: bool
    """Whether simulated values are shown as activations, and not raw."""
    simulated: bool
    counted: bool
    """Whether the shares of the intervals are counted, and not read off quantiles."""


def asked_view(request: Request) -> AskedView:
    """The view that a request asks for.

    A request for parts of the page, by htmx, does not repeat the state in its own address: it is
    that of the address bar, so that an event or an edit leaves the view as it is.

    Raises:
        RequestValidationError: The address asks for a view that there is not.
    """
    names = ExampleView.model_fields
    asked = {name: value for name, value in request.query_params.items() if name in names}
    within = kept(request.query_params)
    try:
        view = AskedView.model_validate({**asked, "within": within})
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        ) from error
    if current := request.headers.get("HX-Current-URL"):
        before = {name: value for name, value in parse_qsl(_query(current)) if name in names}
        try:
            return AskedView.model_validate({**before, **asked, "within": within})
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
    view: AskedView,
    version: int | None,
    counts: dict[str, int],
) -> Shown | None:
    """The examples of one view, with links to the others.

    Args:
        version: Named in the links, where it is not the current explanation.
        counts: How many there are of each kind.

    Returns:
        None where the latent has no examples.
    """
    if not counts:
        return None
    _, kinds, note = TABS[view.examples]
    examples = list_examples(session, study, latent, explanation, kinds)
    look = Look(view.lanes, view.breaks, latent.max_activation)

    def items(some: list[ShownExample]) -> list[Item]:
        shown = windows(some, snippet=view.text == "snippet")
        return [Item(window, window_html(window, look)) for window in shown]

    if view.examples == "interval":
        examples.sort(key=lambda example: -example.peak)
        groups = [
            Group(one, items(own))
            for one, own in zip(intervals(latent), by_interval(latent, examples), strict=True)
        ]
        # Where nothing fires there is nothing to show.
        groups = [one for one in groups if one.items or one.interval is None or one.interval.share]
    else:
        groups = [Group(None, items(examples))]
    link = _link(study, latent, view, version)
    return Shown(
        view,
        _tabs(view, counts, link),
        {
            "Lanes": [
                link(f"lanes-{name}", label, name == view.lanes, lanes=name)
                for name, label in LANES.items()
            ],
            "Text": [
                link("text-snippet", "Snippet", view.text == "snippet", text="snippet"),
                link("text-full", "Full", view.text == "full", text="full"),
            ],
            "Line breaks": [
                link("breaks-off", "As signs", not view.breaks, breaks=False),
                link("breaks-on", "Shown", view.breaks, breaks=True),
            ],
        },
        groups,
        note,
        any(token.calibrated is not None for example in examples for token in example.tokens),
        any(token.simulated is not None for example in examples for token in example.tokens),
        view.examples != "interval" or bins(latent, 1)[1],
    )


def _tabs(view: ExampleView, counts: dict[str, int], link: Callable[..., Choice]) -> list[Choice]:
    tabs = []
    for tab, (label, kinds, _) in TABS.items():
        count = sum(counts.get(kind, 0) for kind in kinds)
        if count or tab == view.examples:
            tabs.append(
                link(f"examples-{tab}", f"{label} ({count})", tab == view.examples, examples=tab)
            )
    return tabs


def _link(
    study: Study, latent: Latent, view: AskedView, version: int | None
) -> Callable[..., Choice]:
    here = f"/studies/{study.slug}/latents/{latent.index}"
    default = ExampleView().model_dump()
    shown = view.model_dump(include=set(default))

    def link(name: str, label: str, current: bool, **changes: Any) -> Choice:
        fields = {**shown, **changes}
        # The part's address names everything, as what it leaves out is taken from the address bar.
        own = {field: value for field, value in fields.items() if value != default[field]}
        page, part = (view.within.at(version=version, **_words(each)) for each in (own, fields))
        return Choice(name, label, current, f"{here}{page}", f"{here}/examples{part}")

    return link


def _words(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in state.items()
    }
