"""The page of one latent, and the parts of it that have pages of their own."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.services.errors import NotFound
from app.services.explanations.history import list_versions
from app.services.explanations.queries import get_version, simulate_jobs
from app.services.explanations.scores import SCORES, is_simulated
from app.services.explanations.views import edit_context
from app.services.jobs.queries import ACTIVE, STOPPED
from app.services.latents import queries
from app.services.latents.agreement import Agreement, agreement
from app.services.latents.costs import reworded, shown_costs
from app.services.latents.examples import bins
from app.services.latents.filter_schemas import (
    STARRED,
)
from app.services.latents.prompts import prompts
from app.services.latents.similar import similar_latents
from app.services.sentences.queries import firing_of, get_sentence
from app.services.simulators.cleanliness import study_simulator
from app.services.simulators.missing import missing_values
from app.services.studies.text import text_doubts
from app.web.database import Database
from app.web.guard.security import CurrentUser
from app.web.latent.charts import EMPHASIS, agreement_chart, confusion_chart, cost_chart
from app.web.latent.examples import asked_view, shown_examples
from app.web.latents.within import kept, within
from app.web.params import Index, Slug
from app.web.templates import render
from interp.cleaning import MAX_LENGTH
from models import Explanation, Latent, Sentence, Study

router = APIRouter()

BINS = 40
"""Bars of the histogram."""
VersionId = Annotated[int | None, Query(ge=1, lt=2**63)]


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
    sentence: VersionId = None,
) -> HTMLResponse:
    """One latent: statistics, explanation, scores, costs, examples, history.

    Args:
        version: Explanation whose simulation is shown; the current one if left out.
        restore: Explanation whose text is put into the edit box.
        saved: Explanation that was saved just now.
        sentence: A sentence that is shown as one more example.
    """
    study, latent = queries.study_and_latent(session, slug, index)
    edit: dict[str, Any] = {}
    if restore is not None:
        edit["text"] = get_version(session, latent, restore).text
    if saved is not None:
        edit["saved"] = get_version(session, latent, saved)
    tried = get_sentence(session, study, sentence) if sentence is not None else None
    return show_latent(
        request, session, study, latent, version=version, edit=edit, user=user, sentence=tried
    )


def show_latent(
    request: Request,
    session: Session,
    study: Study,
    latent: Latent,
    *,
    version: int | None = None,
    edit: dict[str, Any],
    user: str,
    comment: dict[str, Any] | None = None,
    sentence: Sentence | None = None,
    status: int = 200,
) -> HTMLResponse:
    """The page of a latent.

    Args:
        edit: State of the edit box: text, parent_id, error, or the version just saved.
        user: Who is asking.
        comment: A refused comment: explanation_id, text, error.
        sentence: A text that somebody tried, shown as one more example.
    """
    number = latent.explanation_id if version is None else version
    versions = list_versions(session, study, latent, number)
    by_id = {v.explanation.id: v for v in versions}
    current = by_id[latent.explanation_id].explanation if latent.explanation_id else None
    shown = get_version(session, latent, version) if version is not None else current
    reached = by_id[shown.id] if shown else None
    scores = reached.scores if reached else []
    before = by_id.get(shown.parent_id or 0) if shown else None
    costs = shown_costs(reached.costs if reached else [], before.costs if before else [])
    simulated, jobs = is_simulated(scores), request.state.jobs()
    # Once it is simulated, a job that stopped before that is over and done with.
    about = (
        simulate_jobs(session, study, [v.explanation.id for v in versions])
        if jobs or not simulated
        else []
    )
    simulator = study_simulator(session, study)
    saved = edit.get("saved")
    old = shown.id if shown and shown is not current else None
    around = queries.around(session, study, latent)
    view = asked_view(request)
    examples = shown_examples(session, study, latent, shown, view, old, around.examples)
    histogram, counted = bins(latent, BINS)
    context = {
        "study": study,
        "simulator": simulator,
        "latent": latent,
        "within": within(session, study, latent, request.query_params, around),
        "on_lists": around.lists,
        "starred": STARRED,
        "versions": versions,
        "current": current,
        "shown": shown,
        "reached": reached,
        "scores": scores,
        "simulated": simulated,
        "costs": costs,
        "emphasis": EMPHASIS,
        "reworded": reworded(costs),
        "strata": Counter(costs[-1].cost.strata) if costs else None,
        "score_names": SCORES,
        "missing": missing_values(session, study, [shown.id], study.simulator_id)
        if shown and reached and reached.missing
        else None,
        "cost_chart": cost_chart(costs, simulator.cleanliness if simulator else None)
        if costs
        else None,
        "text_doubts": text_doubts(session, study),
        "histogram": histogram,
        "counted": counted,
        "examples": examples,
        "groups": examples.groups if examples else [],
        "sentence": sentence,
        "on_sentence": firing_of(session, study, sentence, latent, shown) if sentence else None,
        "jobs": jobs,
        "about": {job.id for job, _ in about},
        "stopped": about[0][0]
        if about and not simulated and about[0][0].status in STOPPED
        else None,
        "simulating": any(
            job.status in ACTIVE and shown and shown.id in explanations
            for job, explanations in about
        ),
        "edit": {
            "text": current.text if current else "",
            "parent_id": current.id if current else None,
            **edit,
        },
        # Versions that others saved between the one this was written from and this one.
        "between": [
            v.explanation
            for v in versions
            if saved and (saved.parent_id or 0) < v.explanation.id < saved.id
        ],
        "max_length": MAX_LENGTH,
        **edit_context(session, versions, comment, user),
    }
    return render(request, "latent.html", context, status)


@router.get("/studies/{slug}/latents/{index}/examples")
def examples_part(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """The examples of a latent's page alone, in the view that the address says."""
    study, latent = queries.study_and_latent(session, slug, index)
    shown = _shown(session, latent, version)
    view = asked_view(request)
    counts = queries.around(session, study, latent).examples
    examples = shown_examples(session, study, latent, shown, view, version, counts)
    context = {"study": study, "latent": latent, "examples": examples}
    return render(request, "latent/examples.html", context)


@router.get("/studies/{slug}/latents/{index}/agreement")
def agreement_page(
    request: Request, slug: Slug, index: Index, session: Database, version: VersionId = None
) -> HTMLResponse:
    """Simulated against real on the calibrate set: a page of its own, and a part of the latent's.

    Args:
        version: Explanation that was simulated; the current one if left out.
    """
    study, latent = queries.study_and_latent(session, slug, index)
    shown = _shown(session, latent, version)
    found: Agreement | None = None
    problem = "" if shown else "This latent has no explanation yet, so nothing is simulated."
    if shown:
        try:
            found = agreement(session, study, latent, shown)
        except NotFound as error:
            problem = str(error)
    simulator = study_simulator(session, study)
    worth = simulator.cleanliness if simulator else None
    context = {
        "study": study,
        "latent": latent,
        "shown": shown,
        "found": found,
        "problem": problem,
        "scatter": agreement_chart(found, worth) if found else None,
        "confusion": confusion_chart(found, worth) if found else None,
        "within": kept(request.query_params),
    }
    return render(request, "latent/agreement_page.html", context)


@router.get("/studies/{slug}/latents/{index}/similar")
def similar_page(request: Request, slug: Slug, index: Index, session: Database) -> HTMLResponse:
    """Latents like this one: a page of its own, and a part of the latent's."""
    study, latent = queries.study_and_latent(session, slug, index)
    context = {
        "study": study,
        "latent": latent,
        "similar": similar_latents(session, study, latent),
        "within": kept(request.query_params),
    }
    return render(request, "latent/similar_page.html", context)


@router.get("/studies/{slug}/latents/{index}/prompts")
def prompts_page(request: Request, slug: Slug, index: Index, session: Database) -> HTMLResponse:
    """What an explainer reads of a latent: a page of its own, and a part of the latent's."""
    study, latent = queries.study_and_latent(session, slug, index)
    context = {
        "study": study,
        "latent": latent,
        "prompts": prompts(session, study, latent),
        "within": kept(request.query_params),
    }
    return render(request, "latent/prompts_page.html", context)


def _shown(session: Session, latent: Latent, version: int | None) -> Explanation | None:
    """The explanation that is asked for: the current one, if none is named."""
    if version is not None:
        return get_version(session, latent, version)
    return session.get(Explanation, latent.explanation_id) if latent.explanation_id else None
