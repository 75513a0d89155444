"""Simulated against real on the calibrate set: a page of its own, and a part of the latent's."""

from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.services.errors import NotFound
from app.services.latents.agreement import Agreement, agreement
from app.services.latents.queries import study_and_latent
from app.services.simulators.independence import study_simulator
from app.web.charts import Spec
from app.web.database import Database
from app.web.latent.charts import agreement_chart, confusion_chart
from app.web.latent.opened import here_of, shown_version
from app.web.params import Index, Slug, VersionId
from app.web.templates import render

router = APIRouter()


class Found(NamedTuple):
    """The agreement of simulated and real values."""

    figures: Agreement
    scatter: Spec
    confusion: Spec


class AgreementView(NamedTuple):
    """The page."""

    latent: int
    """Its index."""
    latent_page: str
    text: str | None
    """The explanation that was simulated."""
    found: Found | None
    problem: str
    """The reason for an empty page. Empty if there is something to show."""


@router.get("/studies/{slug}/latents/{index}/agreement")
def agreement_page(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """Simulated against real, token by token.

    Args:
        version: The simulated explanation, by default the current one.
    """
    study, latent = study_and_latent(session, slug, index)
    shown = shown_version(session, latent, version)
    found, problem = None, ""
    if shown is None:
        problem = "This latent has no explanation yet, so nothing is simulated."
    else:
        try:
            figures = agreement(session, study, latent, shown)
            simulator = study_simulator(session, study)
            assessment = simulator.assessment if simulator else None
            charts = agreement_chart(figures, assessment), confusion_chart(figures, assessment)
            found = Found(figures, *charts)
        except NotFound as error:
            problem = str(error)
    old = shown.id if shown and shown.id != latent.explanation_id else None
    here = here_of(request, study, latent)
    text = shown.text if shown else None
    view = AgreementView(index, here.to(version=old), text, found, problem)
    return render(request, "pages/latent/agreement.html", {"study": study, "page": view})
