"""The prompts of an explainer for a latent: a page of its own, and a part of the latent's."""

from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.services.latents.prompts import Prompt, prompts
from app.services.latents.queries import study_and_latent
from app.web.database import Database
from app.web.latent.opened import here_of
from app.web.params import Index, Slug
from app.web.templates import render

router = APIRouter()


class PromptsView(NamedTuple):
    """The page."""

    latent: int
    """Its index."""
    latent_page: str
    prompts: list[Prompt]


@router.get("/studies/{slug}/latents/{index}/prompts")
def prompts_page(request: Request, slug: Slug, index: Index, session: Database) -> HTMLResponse:
    """The prompt for an explainer's language model, word by word."""
    study, latent = study_and_latent(session, slug, index)
    asked = prompts(session, study, latent)
    view = PromptsView(index, here_of(request, study, latent).to(), asked)
    return render(request, "pages/latent/prompts.html", {"study": study, "page": view})
