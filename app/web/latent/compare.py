"""Two explanations of a latent side by side."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.services.explanations.compare import Compared, ComparedExample, Side, compare
from app.services.explanations.history import list_versions
from app.services.explanations.queries import get_version, simulate_jobs
from app.services.latents.queries import study_and_latent
from app.services.simulators.independence import StudySimulator, study_simulator
from app.web.database import Database
from app.web.html.lanes import lanes_html
from app.web.latent.opened import here_of
from app.web.latents.within import Here
from app.web.params import Index, Slug
from app.web.templates import render
from interp.vocabulary import ExampleKind
from jobs.status import ACTIVE
from models import Explanation, Latent, LossEffect, Score, Study

router = APIRouter()


class Choice(NamedTuple):
    """A version to choose."""

    id: int
    label: str
    text: str


class SideView(NamedTuple):
    """One of the two explanations."""

    letter: str
    number: int
    """In the history."""
    explanation: Explanation
    is_current: bool
    simulated: bool
    calibrated: bool
    why_not: str
    """Why it is not simulated, where nothing can be done about it here."""
    simulate: bool
    """True if a button can have it simulated."""
    page: str
    restore: str | None


class ExampleView(NamedTuple):
    """An example with the lanes of both."""

    heading: str
    """Above it. Empty where it is that of the example before."""
    html: Markup
    document: str
    start: int


class Pair(NamedTuple):
    """The two explanations, and how they compare."""

    a: SideView
    b: SideView
    same: bool
    compared: Compared
    live: tuple[str, str]
    """Address of the page, and the events that change it."""
    swapped: str
    scores: list[tuple[str, str, Score | None, Score | None]]
    """Name, plain name, and both."""
    loss_effects: list[tuple[str, str, LossEffect | None, LossEffect | None]]
    """Calibration, plain name, and both."""
    unpaired: bool
    """True if both have loss effects, and no paired difference of these is stored."""
    examples: list[ExampleView]


class CompareView(NamedTuple):
    """The page."""

    title: str
    here: Here
    simulator: StudySimulator | None
    versions: list[Choice]
    """To choose from."""
    pair: Pair | None
    """None where there are not two to compare."""


@router.get("/studies/{slug}/latents/{index}/compare")
def compare_page(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    a: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    b: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """Two versions side by side. By default the current one and the one it was written from."""
    study, latent = study_and_latent(session, slug, index)
    versions = list_versions(session, study, latent)
    if b is None and versions:
        b = latent.explanation_id or versions[0].explanation.id
    second = get_version(session, latent, b) if b is not None else None
    if a is None and second is not None:
        a = second.parent_id or next(
            (v.explanation.id for v in versions if v.explanation.id != second.id), None
        )
    first = get_version(session, latent, a) if a is not None else None
    here = here_of(request, study, latent)
    numbers = {one.explanation.id: len(versions) - at for at, one in enumerate(versions)}
    view = CompareView(
        f"Latent {index} of {study.title}",
        here,
        study_simulator(session, study),
        [_choice(one.explanation, latent, numbers) for one in versions],
        _pair(session, study, latent, here, numbers, first, second) if first and second else None,
    )
    return render(request, "pages/latent/compare.html", {"study": study, "page": view})


def _choice(one: Explanation, latent: Latent, numbers: dict[int, int]) -> Choice:
    current = " · current" if one.id == latent.explanation_id else ""
    return Choice(one.id, f"{numbers[one.id]} · {one.author}{current}", one.text)


def _pair(
    session: Session,
    study: Study,
    latent: Latent,
    here: Here,
    numbers: dict[int, int],
    first: Explanation,
    second: Explanation,
) -> Pair:
    compared = compare(session, study, latent, first, second)
    jobs = simulate_jobs(session, study, [first.id, second.id])
    simulating = {number for job, about in jobs if job.status in ACTIVE for number in about}

    def side(letter: str, one: Side) -> SideView:
        explanation = one.explanation
        is_current = explanation.id == latent.explanation_id
        why_not = ""
        if not one.simulated and explanation.id in simulating:
            why_not = "Being simulated; its lane and scores come with it."
        elif not one.simulated and not study.simulator_id:
            why_not = "Not simulated: this study has no simulator yet."
        return SideView(
            letter,
            numbers[explanation.id],
            explanation,
            is_current,
            one.simulated,
            one.calibrated,
            why_not,
            not one.simulated and not why_not,
            here.to(version=None if is_current else explanation.id),
            None if is_current else here.to(restore=explanation.id) + "#edit",
        )

    same = first.id == second.id
    return Pair(
        side("a", compared.a),
        side("b", compared.b),
        same,
        compared,
        (
            here.to("compare", a=first.id, b=second.id),
            f"sse:latent-{latent.id}, sse:latents, sse:refresh",
        ),
        here.to("compare", a=second.id, b=first.id),
        [(name, name.label, one, two) for name, one, two in compared.score_rows],
        [
            (name, f"loss effect, {name}" if name else "loss effect of zeroing", one, two)
            for name, one, two in compared.effect_rows
        ],
        not compared.paired
        and bool(compared.a.loss_effects and compared.b.loss_effects)
        and not same,
        _examples(compared.examples, latent),
    )


def _examples(examples: list[ComparedExample], latent: Latent) -> list[ExampleView]:
    views: list[ExampleView] = []
    before = ""
    for example in examples:
        tokens = [token.a for token in example.tokens], [token.b for token in example.tokens]
        html = lanes_html(tokens[0], latent.max_activation, others=tokens[1])
        heading = ExampleKind(example.kind).label if example.kind != before else ""
        views.append(ExampleView(heading, html, example.document, example.start))
        before = example.kind
    return views
