"""What the edit box and the history of a latent's page do; errors, and two versions compared."""

from typing import Annotated, get_args

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.services.errors import Conflict
from app.services.explanations import queries
from app.services.explanations.compare import compare
from app.services.explanations.diff import word_diff
from app.services.explanations.history import history
from app.services.explanations.preview import preview
from app.services.explanations.scores import SCORES
from app.services.explanations.worst import worst_of
from app.services.jobs.queries import ACTIVE
from app.services.latents.queries import study_and_latent
from app.services.simulators.cleanliness import study_simulator
from app.services.simulators.schemas import Backend
from app.services.work.queries import last_llm
from app.web.database import Database
from app.web.guard.security import CurrentUser
from app.web.latent.explanations_api import CommentId
from app.web.latent.pages import VersionId, show_latent
from app.web.latents.within import kept
from app.web.params import Index, Slug
from app.web.templates import render
from interp import cleaning
from models import Explanation, Latent, Study

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
        edit = {"text": text, "parent_id": parent, "error": str(error)}
        return show_latent(request, session, study, latent, edit=edit, user=user, status=422)
    try:
        saved = queries.save_explanation(session, study, latent, cleaned, parent, user)
    except Conflict as error:
        edit = {"text": text, "parent_id": parent, "error": str(error)}
        return show_latent(request, session, study, latent, edit=edit, user=user, status=409)
    return _to_latent(request, study, latent, "edit", saved=saved.explanation.id)


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
    """The button that simulates a version that has no simulation; the current one if none is named.

    Args:
        compared_with: The other version on the comparison that the button is on.
    """
    study, latent = study_and_latent(session, slug, index)
    wanted = _number(explanation_id) or latent.explanation_id
    if wanted is None:
        raise Conflict(f"Latent {index} has no explanation yet. Write one first.")
    explanation = queries.get_version(session, latent, wanted)
    queries.simulate(session, study, explanation, user)
    if other := _number(compared_with):
        fields = kept(request.query_params).at(a=min(other, wanted), b=max(other, wanted))
        return RedirectResponse(f"/studies/{slug}/latents/{index}/compare{fields}", 303)
    if wanted != latent.explanation_id:
        return _to_latent(request, study, latent, "scores", version=wanted)
    return _to_latent(request, study, latent, "edit")


@router.get("/studies/{slug}/latents/{index}/others")
def others(
    request: Request, slug: Slug, index: Index, session: Database, parent_id: str = ""
) -> HTMLResponse:
    """What was saved while somebody writes: the part of the page between box and button.

    Args:
        parent_id: The version they write from; empty if there was none.
    """
    study, latent = study_and_latent(session, slug, index)
    newer = queries.newer_versions(session, latent, _number(parent_id))
    parent = session.get(Explanation, _number(parent_id) or 0)
    old = parent.text if parent is not None and parent.latent_id == latent.id else None
    context = {
        "study": study,
        "newer": newer,
        "diff": word_diff(old, newer[0].text) if newer and old is not None else (),
    }
    return render(request, "latent/others.html", context)


@router.post("/studies/{slug}/latents/{index}/preview")
def preview_page(
    request: Request, slug: Slug, index: Index, session: Database, text: Text = ""
) -> HTMLResponse:
    """What the simulator will read of the text in the edit box."""
    study, latent = study_and_latent(session, slug, index)
    reading, problem = None, ""
    try:
        reading = preview(session, study, latent, cleaning.explanation(text))
    except ValueError as error:
        problem = str(error)
    except Conflict as error:
        problem = str(error)
    context = {
        "study": study,
        "latent": latent,
        "within": kept(request.query_params),
        "text": text,
        "reading": reading,
        "problem": problem,
        "simulator": study_simulator(session, study),
    }
    return render(request, "preview.html", context)


@router.get("/studies/{slug}/latents/{index}/errors")
def errors_page(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """Which contexts of the calibrate set a wording gets most wrong; the current one by default."""
    study, latent = study_and_latent(session, slug, index)
    wanted = version or latent.explanation_id
    if wanted is None:
        raise Conflict(f"Latent {index} has no explanation yet. Write one first.")
    explanation = queries.get_version(session, latent, wanted)
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "latent": latent,
        "within": kept(request.query_params),
        "explanation": explanation,
        "is_current": explanation.id == latent.explanation_id,
        "worst": worst_of(session, study, latent, explanation),
        "llm": last_llm(session),
        "backends": get_args(Backend),
    }
    return render(request, "errors.html", context)


@router.get("/studies/{slug}/latents/{index}/compare")
def compare_page(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    a: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    b: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """Two versions side by side; by default the current one and the one it was written from."""
    study, latent = study_and_latent(session, slug, index)
    versions = queries.list_versions(session, study, latent)
    if b is None and versions:
        b = latent.explanation_id or versions[0].explanation.id
    second = queries.get_version(session, latent, b) if b is not None else None
    if a is None and second is not None:
        a = second.parent_id or next(
            (v.explanation.id for v in versions if v.explanation.id != second.id), None
        )
    first = queries.get_version(session, latent, a) if a is not None else None
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "latent": latent,
        "within": kept(request.query_params),
        "entries": history(session, versions),
        "compared": compare(session, study, latent, first, second) if first and second else None,
        "simulating": {
            number
            for job, about in queries.simulate_jobs(
                session, study, [v.explanation.id for v in versions]
            )
            if job.status in ACTIVE
            for number in about
        },
        "score_names": SCORES,
    }
    return render(request, "compare.html", context)


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
        comment = {"explanation_id": explanation.id, "text": text, "error": str(error)}
        return show_latent(
            request, session, study, latent, edit={}, user=user, comment=comment, status=422
        )
    queries.add_comment(session, study, explanation, cleaned, user)
    return _to_latent(request, study, latent, f"version-{explanation.id}")


@router.post("/comments/{comment_id}/delete")
def delete_comment(
    request: Request, comment_id: CommentId, session: Database, user: CurrentUser
) -> RedirectResponse:
    """The button that takes a comment back."""
    study, latent = queries.delete_comment(session, comment_id, user)
    return _to_latent(request, study, latent, "history")


def _to_latent(
    request: Request, study: Study, latent: Latent, part: str, **fields: int
) -> RedirectResponse:
    """To a part of a latent's page, within the list that the form's own address carried."""
    fields_and_list = kept(request.query_params).at(**fields)
    return RedirectResponse(
        f"/studies/{study.slug}/latents/{latent.index}{fields_and_list}#{part}", 303
    )


def _number(text: str) -> int | None:
    """The number of a version as a form sends it; None for anything else."""
    return int(text) if text.isdecimal() and len(text) < 19 else None
