"""Latents like one: a page of its own, and a part of the latent's."""

from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.services.latents.queries import study_and_latent
from app.services.latents.similar import SimilarLatents, similar_latents
from app.web.database import Database
from app.web.latent.opened import here_of
from app.web.params import Index, Slug
from app.web.templates import render

router = APIRouter()


class SimilarView(NamedTuple):
    """The page."""

    study: str
    """Slug of the study."""
    latent: int
    """Its index."""
    latent_page: str
    explained: bool
    """True if the latent has an explanation."""
    similar: SimilarLatents


@router.get("/studies/{slug}/latents/{index}/similar")
def similar_page(request: Request, slug: Slug, index: Index, session: Database) -> HTMLResponse:
    """Latents like this one."""
    study, latent = study_and_latent(session, slug, index)
    view = SimilarView(
        slug,
        index,
        here_of(request, study, latent).to(),
        latent.explanation_id is not None,
        similar_latents(session, study, latent),
    )
    return render(request, "pages/latent/similar.html", {"study": study, "page": view})
