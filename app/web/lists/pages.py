"""The page of lists, and the buttons that star latents and put them on lists."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.services.errors import Conflict
from app.services.latents.filter_schemas import LatentMatch
from app.services.lists import queries
from app.services.lists.schemas import ListAdd
from app.services.studies.queries import get_study
from app.services.work.schemas import Selection
from app.web.database import Database
from app.web.errors import messages
from app.web.guard.people import CurrentUser
from app.web.html.rows import star_html
from app.web.lists.api import ListId
from app.web.params import Index, Slug
from app.web.templates import render
from app.web.urls import url

router = APIRouter()


async def _form(request: Request) -> FormData:
    """A form in which a field may come many times: the boxes that are ticked."""
    return await request.form(max_files=0, max_fields=2000)


Back = Annotated[str, Form(alias="next", max_length=8000, pattern=r"^(/studies[\w/?=&%.+~*-]*)?$")]
"""Page of this site to go back to."""
SentForm = Annotated[FormData, Depends(_form)]


@router.get("/studies/{slug}/lists")
def lists_page(request: Request, slug: Slug, session: Database) -> HTMLResponse:
    """The lists of a study."""
    study = get_study(session, slug)
    context = {"study": study, "lists": queries.list_lists(session, study)}
    return render(request, "pages/lists.html", context)


@router.post("/studies/{slug}/latents/{index}/star")
def star(
    request: Request,
    slug: Slug,
    index: Index,
    session: Database,
    user: CurrentUser,
    on: Annotated[bool, Form()],
    back: Back = "",
) -> Response:
    """The star: given or taken away. htmx gets the button in its new state."""
    study = get_study(session, slug)
    queries.star(session, study, index, on, user)
    if "hx-request" in request.headers:
        return HTMLResponse(star_html(slug, index, on))
    return RedirectResponse(back or url("latent", slug, index), 303)


@router.post("/studies/{slug}/lists")
def add(slug: Slug, form: SentForm, session: Database, user: CurrentUser) -> RedirectResponse:
    """The buttons that put latents on a list: those ticked, or all of the filter."""
    study = get_study(session, slug)
    try:
        data = ListAdd.model_validate({**_selection(form), "name": str(form.get("name", ""))})
    except ValidationError as error:
        raise Conflict(_first(error)) from None
    listed, _ = queries.add(session, study, data, user)
    return _to(slug, listed.list.name)


@router.post("/lists/{list_id}/remove")
def remove(list_id: ListId, form: SentForm, session: Database) -> RedirectResponse:
    """The button that takes those ticked off a list."""
    listed = queries.get_list(session, list_id)
    try:
        data = Selection.model_validate(_selection(form))
    except ValidationError as error:
        raise Conflict(_first(error)) from None
    queries.remove(session, listed, data)
    return _to(queries.study_of(session, listed).slug, listed.list.name)


@router.post("/lists/{list_id}/delete")
def delete(list_id: ListId, session: Database) -> RedirectResponse:
    """The button that deletes a list."""
    listed = queries.get_list(session, list_id)
    slug = queries.study_of(session, listed).slug
    queries.delete_list(session, listed)
    return RedirectResponse(url("lists", slug), 303)


def _selection(form: FormData) -> dict[str, Any]:
    """The selected latents: those ticked, or all of the filter that the form carries."""
    if form.get("which") == "all":
        names = LatentMatch.model_fields
        return {name: str(form[name]) for name in names if str(form.get(name, "")).strip()}
    ticked = [str(value) for value in form.getlist("latents")]
    if not ticked:
        raise Conflict("Tick the latents that you mean first.")
    return {"latents": ticked}


def _first(error: ValidationError) -> str:
    return next(iter(messages(error).values()))


def _to(slug: str, name: str) -> RedirectResponse:
    return RedirectResponse(url("latents", slug, on_list=name), 303)
