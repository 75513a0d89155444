"""The page of one latent, put together from its sections."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.services.explanations.queries import get_version
from app.services.latents.queries import study_and_latent
from app.services.sentences.queries import get_sentence
from app.services.studies.text import text_doubts
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.latent.edit import Draft, Edit, edit
from app.web.latent.effect import Effect, effect
from app.web.latent.examples import Shown, asked_view, shown_examples
from app.web.latent.explanation import ShownExplanation, explanation
from app.web.latent.header import Header, header
from app.web.latent.history import History, Remark, history
from app.web.latent.jobs import Jobs, jobs
from app.web.latent.opened import Opened, opened
from app.web.latent.scores import Scores, scores
from app.web.latent.sentence import OnSentence, on_sentence
from app.web.latent.statistics import Statistics, statistics
from app.web.params import Index, Slug, VersionId
from app.web.templates import render
from app.web.urls import url
from models import Latent, Sentence, Study

router = APIRouter()


@dataclass(frozen=True)
class Workbench:
    """The page of a latent: a view model for each section, in the order of the page."""

    title: str
    live: tuple[str, str]
    """Address of the page, and the events that change what it says of the latent."""
    text_doubts: list[str]
    dead: bool
    """True if there is nothing to show but the head and the output tokens."""
    tokens: int | None
    """Of the explain set, or None where that is not recorded."""
    header: Header
    explanation: ShownExplanation
    edit: Edit
    jobs: Jobs
    scores: Scores
    effect: Effect | None
    statistics: Statistics
    sentence: OnSentence | None
    examples: Shown
    history: History
    similar: str
    prompts: str | None
    work: str
    """Addresses of parts that are fetched later."""


@router.get("/studies/{slug}/latents/{index}")
def latent_page(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    version: VersionId = None,
    restore: VersionId = None,
    saved: VersionId = None,
    sentence: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """One latent: statistics, explanation, scores, loss effects, examples, history.

    Args:
        version: The explanation with the simulation to show, by default the current one.
        restore: Explanation whose text is put into the edit box.
        saved: Explanation that was saved just now.
        sentence: A sentence that is shown as one more example.
    """
    study, latent = study_and_latent(session, slug, index)
    draft = Draft()
    if restore is not None:
        draft = draft._replace(text=get_version(session, latent, restore).text)
    if saved is not None:
        draft = draft._replace(saved=get_version(session, latent, saved))
    tried = get_sentence(session, study, sentence) if sentence is not None else None
    return show_latent(
        request, session, study, latent, user, version=version, draft=draft, sentence=tried
    )


def show_latent(
    request: Request,
    session: Session,
    study: Study,
    latent: Latent,
    user: str,
    *,
    version: int | None = None,
    draft: Draft | None = None,
    remark: Remark | None = None,
    sentence: Sentence | None = None,
    status: int = 200,
) -> HTMLResponse:
    """The page of a latent.

    Args:
        user: The person who asks.
        draft: A text that somebody has sent to the edit box.
        remark: A refused comment.
        sentence: A text that somebody tried, shown as one more example.
    """
    latent_opened = opened(request, session, study, latent, version)
    page = _workbench(request, session, latent_opened, user, draft, remark, sentence)
    return render(request, "pages/latent/page.html", {"study": study, "page": page}, status)


def _workbench(
    request: Request,
    session: Session,
    opened: Opened,
    user: str,
    draft: Draft | None,
    remark: Remark | None,
    sentence: Sentence | None,
) -> Workbench:
    study, latent, here = opened.study, opened.latent, opened.here
    view = asked_view(request)
    its_jobs = jobs(session, opened, request.state.jobs())
    examples = shown_examples(
        session, study, latent, opened.shown, view, here, opened.old, opened.around.examples
    )
    return Workbench(
        f"Latent {latent.index} of {study.title}",
        (opened.address, f"sse:latent-{latent.id}, sse:latents, sse:refresh"),
        text_doubts(session, study),
        latent.firing_rate == 0 and not opened.versions and not examples.groups,
        study.coder_info.get("tokens"),
        header(opened),
        explanation(opened),
        edit(opened, draft or Draft()),
        its_jobs,
        scores(session, opened, its_jobs.simulating),
        effect(opened),
        statistics(latent),
        on_sentence(session, opened, sentence) if sentence else None,
        examples,
        history(session, opened, user, remark),
        here.to("similar"),
        here.to("prompts") if examples.groups else None,
        url("work", study.slug, latent=latent.index, within=here.query),
    )
