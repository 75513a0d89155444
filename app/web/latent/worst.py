"""The worst errors of an explanation: a page of its own, and a part of the latent's."""

from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.explanations.queries import get_version
from app.services.explanations.worst import Worst, Wrong, worst_of
from app.services.formatting import figure, visible
from app.services.latents.queries import study_and_latent
from app.services.work.queries import last_llm
from app.web.database import Database
from app.web.html.lanes import lanes_html
from app.web.latent.opened import here_of
from app.web.latents.within import Here
from app.web.params import Index, Slug, VersionId
from app.web.templates import render
from app.web.urls import url
from interp.llm.registry import BACK_ENDS, servers
from models import Explanation, Latent, Study

router = APIRouter()


class WrongView(NamedTuple):
    """A context that is simulated wrongly."""

    html: Markup
    cut: bool
    """True if tokens before these are left out."""
    token: str
    real: float
    predicted: float | None
    document: str
    start: int
    note: dict[str, Any]
    """The note that “Add to the edit” puts beside the edit box."""


class Refine(NamedTuple):
    """The form that has a language model improve the explanation."""

    to: str
    fields: dict[str, Any]
    """The fields to send beside the language model."""
    model: str | None
    """The language model that was used last, or None before the first."""
    llm: dict[str, str]
    """Its back end and address."""
    other: str
    """The page to choose another one."""
    backends: list[str]
    servers: list[str]
    """Those of the back ends that are at an address."""


class WorstView(NamedTuple):
    """The page."""

    title: str
    id: str
    """Of the latent, for what the browser keeps of a text that was not saved."""
    here: Here
    explanation: Explanation
    is_current: bool
    worst: Worst
    false_positives: list[WrongView]
    false_negatives: list[WrongView]
    refine: Refine | None
    why_not: str
    """The reason why it cannot be refined. Empty if it can, and for an earlier version."""


@router.get("/studies/{slug}/latents/{index}/errors")
def errors_page(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """The worst errors of an explanation on the calibrate set, by default of the current one."""
    study, latent = study_and_latent(session, slug, index)
    wanted = version or latent.explanation_id
    if wanted is None:
        raise Conflict(f"Latent {index} has no explanation yet. Write one first.")
    explanation = get_version(session, latent, wanted)
    worst = worst_of(session, study, latent, explanation)
    here = here_of(request, study, latent)
    is_current = explanation.id == latent.explanation_id
    why_not = ""
    if is_current and not study.simulator_id:
        why_not = "Refine needs the study's simulator, and it has none yet."
    elif is_current and latent.max_activation <= 0:
        why_not = "It never fires on the explain set, so there is nothing to refine."
    view = WorstView(
        f"Latent {index} of {study.title}",
        f"{slug}/{index}",
        here,
        explanation,
        is_current,
        worst,
        [_wrong(one, latent, "predicted active") for one in worst.false_positives],
        [_wrong(one, latent, "missed") for one in worst.false_negatives],
        _refine(session, study, here) if is_current and not why_not else None,
        why_not,
    )
    return render(request, "pages/latent/worst.html", {"study": study, "page": view})


def _wrong(wrong: Wrong, latent: Latent, kind: str) -> WrongView:
    token, texts = wrong.token, [one.text for one in wrong.tokens]
    note = {
        "id": f"{wrong.context_id}:{wrong.position}",
        "kind": kind,
        "before": "".join(texts[: wrong.at]),
        "token": token.text,
        "after": "".join(texts[wrong.at + 1 :]),
        "real": figure(token.real, 2),
        "predicted": figure(token.predicted.calibrated, 2),
    }
    predicted = [one.predicted for one in wrong.tokens]
    return WrongView(
        lanes_html(predicted, latent.max_activation, here=wrong.at),
        wrong.cut,
        visible(token.text).strip(),
        token.real,
        token.predicted.calibrated,
        wrong.document,
        wrong.start,
        note,
    )


def _refine(session: Session, study: Study, here: Here) -> Refine:
    llm = last_llm(session)
    fields = {
        "task": "explain",
        "method": "refine",
        "latent": here.index,
        "within": here.query,
        "simulator_id": study.simulator_id,
        "then_rewrite": "true",
    }
    other = url("work", study.slug, latent=here.index, method="refine", within=here.query)
    return Refine(
        url("work", study.slug),
        fields,
        llm.get("model"),
        {name: llm[name] for name in ("model", "backend", "base_url") if llm.get(name)},
        other,
        list(BACK_ENDS),
        servers(),
    )
