"""The simulator's reading of an explanation: a page of its own, and a part of the edit box."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from app.services.errors import Conflict
from app.services.explanations.preview import preview
from app.services.latents.queries import study_and_latent
from app.services.simulators.independence import StudySimulator, study_simulator
from app.web.database import Database
from app.web.latent.opened import here_of
from app.web.latents.within import Here
from app.web.params import Index, Slug
from app.web.templates import render
from interp import cleaning
from interp.simulate.reads import Reading

router = APIRouter()


class PreviewView(NamedTuple):
    """The page."""

    title: str
    here: Here
    text: str
    """As it was sent."""
    simulator: StudySimulator | None
    reading: Reading | None
    problem: str
    """The reason why there is none. Empty if there is one."""


@router.post("/studies/{slug}/latents/{index}/preview")
def preview_page(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    text: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """The simulator's reading of the text in the edit box."""
    study, latent = study_and_latent(session, slug, index)
    reading, problem = None, ""
    try:
        reading = preview(session, study, latent, cleaning.explanation(text))
    except (ValueError, Conflict) as error:
        problem = str(error)
    view = PreviewView(
        f"Latent {index} of {study.title}",
        here_of(request, study, latent),
        text,
        study_simulator(session, study),
        reading,
        problem,
    )
    return render(request, "pages/latent/preview.html", {"study": study, "page": view})
