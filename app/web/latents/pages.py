"""The list of latents."""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field, model_validator
from sqlalchemy import Select, select

from app.services.explanations.queries import (
    authors_query,
)
from app.services.fields import Sought
from app.services.latents import listing, meaning, queries
from app.services.latents.filter_schemas import (
    COLUMNS,
    STARRED,
    Column,
    LatentFilter,
    Part,
    by_name,
)
from app.services.lists.queries import NAMES, get_named
from app.services.rows import array_of, read
from app.services.simulators.independence import study_simulator
from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.templates import render
from app.web.urls import url, with_query
from models import Study

router = APIRouter()

PAGE = 50
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
        "Sensitivity: of the tokens where it is active, the share where it is predicted active",
        "desc",
    ),
    "specificity": (
        "spec.",
        "Specificity: of the tokens where it is silent, the share where it is predicted silent",
        "desc",
    ),
    "explained_variance": (
        "expl. var.",
        "Share of the real activation's variance that the calibrated simulation explains",
        "desc",
    ),
    "loss_effect": (
        "loss effect, nats",
        "Loss increase when only this latent is rewritten (isotonic)",
        "asc",
    ),
    "estimated_effect": (
        "est. effect, nats",
        "First-order estimate of the loss effect, at all latents real",
        "desc",
    ),
    "author": ("author", "Who wrote the explanation", ""),
}
"""Heading of each column, its meaning, and the order that a first click gives. No order if the list
cannot be sorted by it."""


class ListState(Part):
    """The state of the list of latents, all of it in the address.

    The form takes the firing rate in per cent, as its column shows it. Addresses and the API have
    the share.
    """

    show: list[Column] = Field(default=list(COLUMNS), max_length=20)
    """Columns, besides the index and the explanation."""
    go: Sought = Field(default="", max_length=40)
    """Index of a latent to jump to."""

    @model_validator(mode="before")
    @classmethod
    def _from_percent(cls, fields: Any) -> Any:
        shares = {}
        for bound in ("min", "max"):
            typed = fields.get(f"firing_percent_{bound}", "")
            if typed:
                try:
                    shares[f"firing_rate_{bound}"] = f"{float(typed) / 100:.9g}"
                except ValueError:
                    shares[f"firing_rate_{bound}"] = typed  # refused with the other fields
        return {**fields, **shares}


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
            return RedirectResponse(url("latent", slug, latent.index, **wanted.state()), 303)
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
        "found": found,
        "latents": study.coder_info.get("num_latents", 0),
        "columns": COLUMN_NAMES,
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
    response = render(request, "pages/latents.html", context)
    # What the address bar says: without the fields of the form that were left empty.
    response.headers["HX-Push-Url"] = link(after=wanted.after, before=wanted.before)
    return response


@cache
def _beside() -> Select[list[str], list[str], bool]:
    """The data beside the list: authors and lists for the filter form, and whether the search by
    meaning misses some latents."""
    return select(array_of(authors_query()), array_of(NAMES), meaning.LACKING)


def _link(study: Study, wanted: ListState) -> Callable[..., str]:
    """Addresses of the same list in another state. Only what is not the default is named."""

    def link(**changes: Any) -> str:
        state = wanted.model_copy(update={"after": "", "before": "", "go": "", **changes})
        return url("latents", study.slug, **state.fields(ListState))

    return link


@router.get("/studies/{slug}/latents/random")
def random_latent(
    slug: Slug, wanted: Annotated[LatentFilter, Query()], session: Database
) -> RedirectResponse:
    """Any latent of the list."""
    study = get_study(session, slug)
    index = listing.random_latent(session, study, wanted)
    # Where there is none, the list says why.
    to = url("latents", slug) if index is None else url("latent", slug, index)
    to += with_query(wanted.state())
    return RedirectResponse(to, 303, {"Cache-Control": "no-store"})


@router.post("/studies/{slug}/embed")
def embed_study(slug: Slug, session: Database, user: CurrentUser) -> RedirectResponse:
    """The button that makes the explanations of a study ready for search by meaning."""
    meaning.embed_study(session, get_study(session, slug), user)
    return RedirectResponse(url("study_jobs", slug), 303)
