"""Stars and lists of latents as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.services.latents.queries import study_and_latent
from app.services.lists import queries
from app.services.lists.queries import Listed
from app.services.lists.schemas import ListAdd, ListChanged, ListOut, Starred
from app.services.studies.queries import get_study
from app.services.work.schemas import Selection
from app.web.database import Database
from app.web.guard.people import CurrentUser
from app.web.params import Index, Slug

router = APIRouter(tags=["lists"])

ListId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a list.")]


def _out(listed: Listed) -> ListOut:
    one = listed.list
    return ListOut(
        id=one.id,
        name=one.name,
        latents=listed.latents,
        created_by=one.created_by,
        created_at=one.created_at,
    )


@router.get("/studies/{slug}/lists", summary="List lists of latents")
def list_lists(slug: Slug, session: Database) -> list[ListOut]:
    """The lists of a study by name, starred first. Their latents: the latents with `on_list`."""
    return [_out(one) for one in queries.list_lists(session, get_study(session, slug))]


@router.post("/studies/{slug}/lists", summary="Put latents on a list", status_code=201)
def add(slug: Slug, data: ListAdd, session: Database, user: CurrentUser) -> ListChanged:
    """Put latents on a list: those named, or all of a filter. The list is made if it is new."""
    listed, changed = queries.add(session, get_study(session, slug), data, user)
    return ListChanged(list=_out(listed), changed=changed)


@router.get("/lists/{list_id}", summary="Get a list of latents")
def get_list(list_id: ListId, session: Database) -> ListOut:
    """One list, with its number of latents."""
    return _out(queries.get_list(session, list_id))


@router.post("/lists/{list_id}/remove", summary="Take latents off a list")
def remove(list_id: ListId, data: Selection, session: Database) -> ListChanged:
    """Take latents off a list: those named, or all of a filter. The list stays."""
    listed, changed = queries.remove(session, queries.get_list(session, list_id), data)
    return ListChanged(list=_out(listed), changed=changed)


@router.delete("/lists/{list_id}", summary="Delete a list of latents", status_code=204)
def delete_list(list_id: ListId, session: Database) -> None:
    """Delete a list. The latents on it stay."""
    queries.delete_list(session, queries.get_list(session, list_id))


@router.put("/studies/{slug}/latents/{index}/star", summary="Give a latent a star")
def star(slug: Slug, index: Index, session: Database, user: CurrentUser) -> Starred:
    """Put a latent on the list `starred`."""
    queries.star(session, get_study(session, slug), index, True, user)
    return Starred(index=index, starred=True)


@router.delete("/studies/{slug}/latents/{index}/star", summary="Take a latent's star away")
def unstar(slug: Slug, index: Index, session: Database, user: CurrentUser) -> Starred:
    """Take a latent off the list `starred`."""
    study, latent = study_and_latent(session, slug, index)
    queries.star(session, study, latent.index, False, user)
    return Starred(index=index, starred=False)
