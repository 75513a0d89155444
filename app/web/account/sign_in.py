"""The page for who is not known yet. It asks for no role."""

import re
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.services.errors import NotFound
from app.services.people import sessions
from app.web.database import session_of
from app.web.guard import openid
from app.web.guard.passwords import user_of
from app.web.guard.people import give_cookie, session_token
from app.web.templates import render
from app.web.urls import url
from models.settings import get_settings

router = APIRouter()

LOCAL = re.compile(r"/(?![/\\])[\x21-\x7e]*")
"""A page of this site. What begins with two slashes is another site, and browsers take a backslash
for a slash."""
LONGEST_ADDRESS = 8000


def local(address: str) -> str:
    """The page to go to after the sign-in: the first one, where an address is of no page here."""
    ours = len(address) <= LONGEST_ADDRESS and LOCAL.fullmatch(address)
    return address if ours else url("home")


@router.get("/sign-in")
def sign_in_page(request: Request, back: Annotated[str, Query(alias="next")] = "") -> HTMLResponse:
    """The form for a name and a password, and the way to the provider."""
    _only_with_accounts()
    return form(request, back)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    back: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Begin a session. The browser gets a new token, whatever it had before."""
    _only_with_accounts()
    address = request.client.host if request.client else "nowhere"
    try:
        user_id = await user_of(name, password, address)
    except HTTPException as error:
        if error.status_code != 429:
            raise
        answer: Response = form(request, back, name, error.detail, 429)
        answer.headers.update(error.headers or {})
        return answer
    if user_id is None:
        return form(request, back, name, "The name or the password is wrong.", 401)
    async with session_of(reads=False) as session:
        before = session_token(request)
        token = await run_in_threadpool(sessions.begin, session, user_id, before)
    return signed_in(request, token, back)


def signed_in(request: Request, token: str, back: str) -> RedirectResponse:
    """To the page that somebody came for, with their new session."""
    answer = RedirectResponse(local(back), 303)
    give_cookie(request, answer, token)
    return answer


def form(
    request: Request, back: str, name: str = "", error: str = "", status: int = 200
) -> HTMLResponse:
    """The page to sign in, with what went wrong."""
    context = {
        "now": None,
        "back": local(back),
        "name": name,
        "error": error,
        "provider": openid.provider_name() if get_settings().oidc_issuer else None,
    }
    return render(request, "pages/sign_in.html", context, status)


def _only_with_accounts() -> None:
    if not get_settings().accounts:
        raise NotFound("Accounts are off on this server.")
