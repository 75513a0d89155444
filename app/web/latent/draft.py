"""The draft in the edit box: what it would change, while somebody types."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.services.explanations.drafts import draft_request, lane_of_draft
from app.services.latents.queries import around, study_and_latent
from app.web.database import session_of
from app.web.latent.answered import Number, Tab, answered_part
from app.web.latent.examples import TABS, Shown, asked_view, shown_examples
from app.web.latent.opened import here_of, shown_version
from app.web.params import Index, Slug, VersionId
from app.web.templates import render
from interp import cleaning
from interp.simulate.reads import EXPLANATION_TOKENS
from jobs.drafts import DraftAnswer, DraftRequest, Moved
from models import Explanation, Latent, Study

router = APIRouter()

SLOW_SECONDS = 120.0
"""The longest wait for a simulator that is slow."""
DIGITS = {"correlation": 2, "sensitivity": 2, "specificity": 3}


class Line(NamedTuple):
    """One figure of the draft, beside that of the current explanation."""

    label: str
    now: float | None
    draft: float | None
    digits: int

    @property
    def change(self) -> float | None:
        """From the current explanation to the draft."""
        return None if self.now is None or self.draft is None else self.draft - self.now


class DraftView(NamedTuple):
    """What stands below the edit box."""

    problem: str
    """The reason why there is nothing. Empty if there is something."""
    same: bool = False
    """True if the text is that of the current explanation."""
    lines: tuple[Line, ...] = ()
    low: float | None = None
    high: float | None = None
    """95% interval of the change of the correlation."""
    better: tuple[Moved, ...] = ()
    worse: tuple[Moved, ...] = ()
    unread: str = ""
    most: int = EXPLANATION_TOKENS
    """Tokens that the simulator reads."""
    examples: Shown | None = None
    """The examples with the draft's lane."""
    explained: bool = True
    """True if there is a current explanation to compare with."""

    @property
    def said(self) -> str:
        """The outcome in a sentence, for who does not see it."""
        if self.problem or self.same or not self.lines:
            return self.problem
        one = self.lines[0]
        if one.draft is None:
            return "The correlation of this text is not defined."
        was = "" if one.now is None else f", of the current one {one.now:.2f}"
        return f"Correlation of this text {one.draft:.2f}{was}."


@router.post("/studies/{slug}/latents/{index}/draft")
async def draft_part(
    request: Request,
    slug: Slug,
    index: Index,
    text: Annotated[str, Form()] = "",
    tab: Tab = "",
    number: Number = 0,
    examples_only: Annotated[bool, Form()] = False,
    version: VersionId = None,
) -> Response:
    """What the text in the edit box would change: figures, and the examples with its lane.

    Args:
        version: The version that the page shows.
    """
    view = asked_view(request)

    def question(session: Session, study: Study, latent: Latent) -> DraftRequest:
        return draft_request(
            session,
            study,
            latent,
            cleaning.explanation(text),
            TABS[view.examples][1],
            examples_only=examples_only,
        )

    def shown(session: Session, asked: DraftRequest, answer: DraftAnswer) -> DraftView:
        study, latent = study_and_latent(session, slug, index)
        explanation = shown_version(session, latent, version)
        here, counts = here_of(request, study, latent), around(session, study, latent).examples
        current = session.get(Explanation, asked.current_id) if asked.current_id else None
        same = current is not None and current.text == asked.text
        lane = None if same else lane_of_draft(answer)
        examples = shown_examples(
            session, study, latent, explanation, view, here, version, counts, lane
        )
        return _view(answer, examples, same, current is not None)

    answered = await answered_part(
        request,
        (slug, index),
        "draft",
        question,
        DraftAnswer,
        lambda reason: _part(request, DraftView(reason)),
        tab=tab,
        number=number,
        seconds=SLOW_SECONDS if examples_only else None,
    )
    if isinstance(answered, Response):
        return answered
    async with session_of(reads=True) as session:
        return _part(request, await run_in_threadpool(shown, session, *answered))


def _part(request: Request, view: DraftView) -> HTMLResponse:
    return render(request, "pages/latent/draft.html", {"view": view})


def _view(answer: DraftAnswer, examples: Shown, same: bool, explained: bool) -> DraftView:
    lines: tuple[Line, ...] = ()
    if answer.draft is not None:
        lines = tuple(
            Line(
                name,
                getattr(answer.current, name) if answer.current else None,
                getattr(answer.draft, name),
                digits,
            )
            for name, digits in DIGITS.items()
        )
    change = answer.change
    return DraftView(
        answer.problem,
        same,
        lines,
        change.low if change else None,
        change.high if change else None,
        tuple(answer.better),
        tuple(answer.worse),
        answer.unread,
        examples=examples,
        explained=explained,
    )
