"""The actions of the buttons on a latent's page: saving, simulating, commenting."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.services.errors import Conflict
from app.services.explanations import comments, measuring, queries
from app.services.explanations.diff import word_diff
from app.services.latents.queries import study_and_latent
from app.web.database import Database
from app.web.explanations.api import CommentId
from app.web.guard.people import CurrentUser
from app.web.latent.edit import Draft, Others
from app.web.latent.history import Remark
from app.web.latent.opened import here_of
from app.web.latent.pages import show_latent
from app.web.params import Index, Slug
from app.web.templates import render
from app.web.urls import url
from interp import cleaning
from models import Explanation

router = APIRouter()

Text = Annotated[str, Form()]


@router.post("/studies/{slug}/latents/{index}/explanations")
def save_explanation(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    text: Text = "",
    parent_id: Text = "",
) -> Response:
    """The button “Save and re-simulate”. The page comes back, with the text kept if refused."""
    study, latent = study_and_latent(session, slug, index)
    parent = _number(parent_id)
    try:
        cleaned = cleaning.explanation(text)
    except ValueError as error:
        draft = Draft(text, parent, str(error))
        return show_latent(request, session, study, latent, user, draft=draft, status=422)
    try:
        saved = queries.save_explanation(session, study, latent, cleaned, parent, user)
    except Conflict as error:
        draft = Draft(text, parent, str(error))
        return show_latent(request, session, study, latent, user, draft=draft, status=409)
    here = here_of(request, study, latent)
    return RedirectResponse(here.to(saved=saved.explanation.id) + "#edit", 303)


@router.post("/studies/{slug}/latents/{index}/simulate")
def simulate(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    explanation_id: Text = "",
    compared_with: Text = "",
) -> RedirectResponse:
    """The button that simulates a version without a simulation, by default the current one.

    Args:
        compared_with: The other version on the comparison that the button is on.
    """
    study, latent = study_and_latent(session, slug, index)
    wanted = _number(explanation_id) or latent.explanation_id
    if wanted is None:
        raise Conflict(f"Latent {index} has no explanation yet. Write one first.")
    explanation = queries.get_version(session, latent, wanted)
    queries.simulate(session, study, explanation, user)
    here = here_of(request, study, latent)
    if other := _number(compared_with):
        to = here.to("compare", a=min(other, wanted), b=max(other, wanted))
    elif wanted != latent.explanation_id:
        to = here.to(version=wanted) + "#scores"
    else:
        to = here.to() + "#edit"
    return RedirectResponse(to, 303)


@router.post("/studies/{slug}/latents/{index}/measure")
def measure(slug: Slug, index: Index, session: Database, user: CurrentUser) -> RedirectResponse:
    """The overview's button that measures a loss effect that is only estimated."""
    measuring.measure(session, *study_and_latent(session, slug, index), user)
    return RedirectResponse(url("study", slug) + "#edit-next", 303)


@router.get("/studies/{slug}/latents/{index}/others")
def others(
    request: Request, slug: Slug, index: Index, session: Database, parent_id: str = ""
) -> HTMLResponse:
    """The versions saved while somebody writes: the part of the page between box and button.

    Args:
        parent_id: The version they write from. Empty if there was none.
    """
    _, latent = study_and_latent(session, slug, index)
    newer = queries.newer_versions(session, latent, _number(parent_id))
    parent = session.get(Explanation, _number(parent_id) or 0)
    old = parent.text if parent is not None and parent.latent_id == latent.id else None
    diff = word_diff(old, newer[0].text) if newer and old is not None else ()
    return render(request, "pages/latent/others.html", {"others": Others(newer, diff)})


@router.post("/studies/{slug}/latents/{index}/comments")
def add_comment(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    explanation_id: Text = "",
    text: Text = "",
) -> Response:
    """The button “Comment”. The page comes back, with the text kept if it is refused."""
    study, latent = study_and_latent(session, slug, index)
    explanation = queries.get_version(session, latent, _number(explanation_id) or 0)
    try:
        cleaned = cleaning.comment(text)
    except ValueError as error:
        remark = Remark(explanation.id, text, str(error))
        return show_latent(request, session, study, latent, user, remark=remark, status=422)
    comments.add_comment(session, study, explanation, cleaned, user)
    here = here_of(request, study, latent)
    return RedirectResponse(f"{here.to()}#version-{explanation.id}", 303)


@router.post("/comments/{comment_id}/delete")
def delete_comment(
    request: Request, comment_id: CommentId, session: Database, user: CurrentUser
) -> RedirectResponse:
    """The button that takes a comment back."""
    study, latent = comments.delete_comment(session, comment_id, user)
    return RedirectResponse(here_of(request, study, latent).to() + "#history", 303)


def _number(text: str) -> int | None:
    """The number of a version as a form sends it, or None for anything else."""
    return int(text) if text.isdecimal() and len(text) < 19 else None
