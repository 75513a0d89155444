"""What the edit box of a latent's page does."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from app.database import Database
from app.errors import Conflict
from app.explanations import queries
from app.explanations.schemas import clean
from app.latents.pages import show_latent
from app.latents.queries import Index, get_latent
from app.security import CurrentUser
from app.studies.queries import Slug, get_study

router = APIRouter()


@router.post("/studies/{slug}/latents/{index}/explanations")
def save_explanation(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    text: Annotated[str, Form()] = "",
    parent_id: Annotated[str, Form()] = "",
) -> Response:
    """The button “Save and re-simulate”. The page comes back, with the text kept if refused."""
    study = get_study(session, slug)
    latent = get_latent(session, study, index)
    parent = int(parent_id) if parent_id.isdecimal() and int(parent_id) < 2**63 else None
    try:
        cleaned = clean(text)
    except ValueError as error:
        edit = {"text": text, "parent_id": parent, "error": str(error)}
        return show_latent(request, session, study, latent, edit=edit, status=422)
    try:
        saved = queries.save_explanation(session, study, latent, cleaned, parent, user)
    except Conflict as error:
        edit = {"text": text, "parent_id": parent, "error": error.detail}
        return show_latent(request, session, study, latent, edit=edit, status=409)
    return RedirectResponse(
        f"/studies/{slug}/latents/{index}?saved={saved.explanation.id}#edit", 303
    )


@router.post("/studies/{slug}/latents/{index}/simulate")
def simulate(slug: Slug, index: Index, session: Database, user: CurrentUser) -> RedirectResponse:
    """The button that simulates a current explanation that has no simulation."""
    study = get_study(session, slug)
    latent = get_latent(session, study, index)
    if latent.explanation_id is None:
        raise Conflict(f"Latent {index} has no explanation yet. Write one first.")
    explanation = queries.get_explanation(session, latent.explanation_id)
    queries.simulate(session, study, explanation, user)
    return RedirectResponse(f"/studies/{slug}/latents/{index}#edit", 303)
