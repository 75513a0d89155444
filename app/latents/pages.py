"""The list of latents, and the page of one."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.database import Database, array_of, read
from app.errors import NotFound
from app.explanations.queries import (
    authors_query,
    get_version,
    is_simulated,
    list_versions,
    simulate_jobs,
)
from app.explanations.views import SCORES, edit_context
from app.fields import Sought
from app.jobs.queries import ACTIVE, STOPPED
from app.latents import listing, meaning, queries
from app.latents.agreement import Agreement, agreement
from app.latents.charts import EMPHASIS, agreement_chart, confusion_chart, cost_chart
from app.latents.examples import bins
from app.latents.prompts import prompts
from app.latents.queries import Index
from app.latents.rows import row_html
from app.latents.schemas import (
    COLUMNS,
    STARRED,
    Column,
    LatentFilter,
    Part,
)
from app.latents.similar import similar_latents
from app.latents.views import asked_view, shown_examples
from app.latents.within import kept, latent_address, within
from app.lists.queries import NAMES, by_name, get_named
from app.security import CurrentUser
from app.sentences.queries import firing_of, get_sentence
from app.simulators.queries import missing_values, study_simulator
from app.studies.queries import Slug, get_study
from app.studies.text import text_doubts
from app.templates import render
from interp.cleaning import MAX_LENGTH
from models import Explanation, Latent, Sentence, Study

router = APIRouter()

PAGE = 50
BINS = 40
"""Bars of the histogram."""
COLUMN_NAMES: dict[Column, tuple[str, str, str]] = {
    "firing_rate": ("fires on", "Share of tokens it fires on", "desc"),
    "max_activation": ("max", "Largest activation", "desc"),
    "mean_activation": ("mean", "Mean activation over the tokens it fires on", "desc"),
    "correlation": (
        "correlation",
        "Of simulated and real activation, with its 95% interval",
        "desc",
    ),
    "sensitivity": (
        "sens.",
        "Sensitivity: of the tokens where it is active, the share where it is said to be",
        "desc",
    ),
    "specificity": (
        "spec.",
        "Specificity: of the tokens where it is silent, the share where it is said to be",
        "desc",
    ),
    "explained_variance": (
        "expl. var.",
        "Share of the real activation's variance that the calibrated simulation explains",
        "desc",
    ),
    "cost": (
        "cost, nats",
        "Loss increase when only this latent is rewritten (isotonic)",
        "asc",
    ),
    "author": ("author", "Who wrote the explanation", ""),
}
"""Heading of each column, what it means, and the order that a first click gives; none if the list
cannot be sorted by it."""
VersionId = Annotated[int | None, Query(ge=1, lt=2**63)]


class ListState(Part):
    """The state of the list of latents, all of it in the address."""

    show: list[Column] = Field(default=list(COLUMNS), max_length=20)
    """Columns, besides the index and the explanation."""
    go: Sought = Field(default="", max_length=40)
    """Index of a latent to jump to."""


@router.get("/studies/{slug}/latents")
def list_latents(
    request: Request, slug: Slug, wanted: Annotated[ListState, Query()], session: Database
) -> Response:
    """The list of latents, or the one that was asked for by index."""
    study = get_study(session, slug)
    notice = ""
    if index := wanted.go.strip():
        if index.isdecimal() and int(index) < 2**31:
            latent = queries.get_latent(session, study, int(index))
            return RedirectResponse(latent_address(study, latent.index, wanted), 303)
        notice = f"“{index}” is no index of a latent. Use a whole number, such as 12."
    by_meaning = bool(wanted.meaning.strip())
    if by_meaning and not meaning.is_fetched():
        found, notice = listing.Found([], 0, False, None, None), meaning.NOT_FETCHED
    else:
        found = listing.list_latents(session, study, wanted, limit=PAGE, figures=wanted.show)
    link = _link(study, wanted)
    names, lists, lacking = read(session, _beside(), {"study": study.id}).one()
    lacking = lacking and by_meaning and meaning.is_fetched()
    context = {
        "study": study,
        "simulator": study_simulator(session, study),
        "wanted": wanted,
        "link": link,
        "narrowed": urlencode(wanted.filter()),
        "state": urlencode(wanted.state()),
        "found": found,
        "rows": found.rows,
        "latents": study.coder_info.get("num_latents", 0),
        "columns": COLUMN_NAMES,
        "row_html": row_html,
        "headings": [(n, label) for n, (label, *_) in COLUMN_NAMES.items() if n in wanted.show],
        "by_meaning": by_meaning,
        "lacking": lacking,
        "embedding": lacking and meaning.at_work(session, study),
        "authors": sorted(names),
        "lists": by_name(lists),
        "list": get_named(session, study, wanted.on_list) if wanted.on_list else None,
        "starred": STARRED,
        "notice": notice,
    }
    response = render(request, "latents.html", context)
    # What the address bar says: without the fields of the form that were left empty.
    response.headers["HX-Push-Url"] = link(after=wanted.after, before=wanted.before)
    return response


@cache
def _beside() -> Select[list[str], list[str], bool]:
    """What stands beside the list: who wrote an explanation, and what lists there are, for the form
    that filters; and whether the search by meaning does not find all."""
    return select(array_of(authors_query()), array_of(NAMES), meaning.LACKING)


def _link(study: Study, wanted: ListState) -> Callable[..., str]:
    """Addresses of the same list in another state. Only what is not the default is named."""

    def link(**changes: Any) -> str:
        state = wanted.model_copy(update={"after": "", "before": "", "go": "", **changes})
        query = urlencode(state.fields(ListState), doseq=True)
        return f"/studies/{study.slug}/latents" + (f"?{query}" if query else "")

    return link


@router.get("/studies/{slug}/latents/random")
def random_latent(
    slug: Slug, wanted: Annotated[LatentFilter, Query()], session: Database
) -> RedirectResponse:
    """Any latent of the list."""
    study = get_study(session, slug)
    index = listing.random_latent(session, study, wanted)
    if index is None:
        raise NotFound("No latent matches the filter, so there is none to draw.")
    address = latent_address(study, index, wanted)
    return RedirectResponse(address, 303, {"Cache-Control": "no-store"})


@router.post("/studies/{slug}/embed")
def embed_study(slug: Slug, session: Database, user: CurrentUser) -> RedirectResponse:
    """The button that makes the explanations of a study ready for search by meaning."""
    meaning.embed_study(session, get_study(session, slug), user)
    return RedirectResponse(f"/studies/{slug}/jobs", 303)


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
    costs = queries.shown_costs(reached.costs if reached else [], before.costs if before else [])
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
        "reworded": queries.reworded(costs),
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
            problem = error.detail
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
