"""What the buttons under the loss chart do."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse

from app.database import Database
from app.latents.schemas import NoNul
from app.rewrites import queries
from app.rewrites.schemas import Protocol
from app.security import CurrentUser
from app.studies.queries import Slug, get_study

router = APIRouter()


@router.post("/studies/{slug}/rewrites")
def measure(
    slug: Slug,
    session: Database,
    user: CurrentUser,
    protocol: Annotated[Protocol, Form()],
    author: Annotated[NoNul, Form(max_length=200)] = "",
) -> RedirectResponse:
    """The button “Measure again”."""
    queries.measure(session, get_study(session, slug), protocol, author, user)
    shown = {"protocol": protocol} | ({"author": author} if author else {})
    return RedirectResponse(f"/studies/{slug}?{urlencode(shown)}", 303)
