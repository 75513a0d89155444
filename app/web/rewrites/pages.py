"""The buttons under the loss chart, its figures as a file, and the comparison of two rewrites."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.services.errors import NotFound
from app.services.fields import Sought
from app.services.rewrites import queries
from app.services.rewrites.compare import compare_rewrites, opening
from app.services.rewrites.figures import figures
from app.services.rewrites.schemas import Figure
from app.services.rewrites.views import View
from app.services.studies.queries import count_latents, get_study
from app.services.tables import as_csv
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Slug
from app.web.rewrites.charts import comparison_chart
from app.web.roles import needs
from app.web.templates import render
from app.web.urls import url
from interp.vocabulary import Protocol, Role

router = APIRouter()

RewriteId = Annotated[int | None, Query(ge=1, lt=2**63)]
OFFERED = 100
"""Rewrites to choose from, the newest ones."""
CHANGED = 20
"""Latents with another explanation that the comparison lists."""


@router.post("/studies/{slug}/rewrites")
def measure(
    slug: Slug,
    session: Database,
    user: CurrentUser,
    protocol: Annotated[Protocol, Form()],
    author: Annotated[Sought, Form(max_length=200)] = "",
) -> RedirectResponse:
    """The button “Rewrite again”."""
    queries.measure(session, get_study(session, slug), protocol, author, user)
    shown = {"protocol": protocol} | ({"author": author} if author else {})
    return RedirectResponse(url("study", slug, **shown), 303)


@router.get("/studies/{slug}/rewrites/{rewrite_id}/delete")
@needs(Role.EDITOR)
def confirm_deletion(
    request: Request,
    slug: Slug,
    rewrite_id: Annotated[int, Path(ge=1, lt=2**63)],
    session: Database,
) -> HTMLResponse:
    """The page that lists a rewrite's contents, with the button that deletes it."""
    study = get_study(session, slug)
    rewrite = queries.get_rewrite(session, study, rewrite_id)
    points = len(queries.list_points(session, rewrite))
    context = {"study": study, "rewrite": rewrite, "points": points, "protocols": Protocol}
    return render(request, "pages/rewrite_delete.html", context)


@router.post("/studies/{slug}/rewrites/{rewrite_id}/delete")
def delete(
    slug: Slug, rewrite_id: Annotated[int, Path(ge=1, lt=2**63)], session: Database
) -> RedirectResponse:
    """The button “Delete the rewrite”."""
    rewrite = queries.get_rewrite(session, get_study(session, slug), rewrite_id)
    queries.delete_rewrite(session, rewrite)
    return RedirectResponse(url("study", slug, protocol=rewrite.protocol), 303)


@router.get("/studies/{slug}/figures.csv")
def figures_as_csv(
    slug: Slug,
    session: Database,
    protocol: Protocol = Protocol.WHOLE,
    view: View = "calibrations",
    author: Annotated[Sought, Query(max_length=200)] = "",
    line: Annotated[list[Sought] | None, Query(max_length=50)] = None,
    chosen: bool = False,
) -> Response:
    """The figures that the loss chart shows, as a file."""
    study = get_study(session, slug)
    results = queries.latest_results(session, study, protocol, author)
    if results is None:
        raise NotFound(f"Study {slug} has no such rewrite yet, so there are no figures.")
    text = as_csv(Figure, figures(results, view, set(line or []) if chosen else None))
    name = f"{slug}-{protocol}-{view}-rewrite-{results.rewrite.id}.csv"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv", headers=disposition)


@router.get("/studies/{slug}/compare")
def compare(
    request: Request, slug: Slug, session: Database, a: RewriteId = None, b: RewriteId = None
) -> HTMLResponse:
    """Two rewrites side by side, by default the newest two that can be compared."""
    study = get_study(session, slug)
    offered = [one for one in queries.list_rewrites(session, study) if one.finished][:OFFERED]
    named = [queries.get_rewrite(session, study, number) if number else None for number in (a, b)]
    first, second = opening(offered, *named)
    found = compare_rewrites(session, first, second) if first and second else None
    latents = count_latents(session, study)
    context = {
        "study": study,
        "offered": offered,
        "first": first,
        "second": second,
        "protocols": Protocol,
        "found": found,
        "changed": found.changed[:CHANGED] if found else [],
        "chart": comparison_chart(found.first, found.second, latents)
        if found and found.pairs
        else None,
    }
    return render(request, "pages/compare_rewrites.html", context)
