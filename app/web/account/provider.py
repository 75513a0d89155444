"""To the OpenID provider, and back with its word on who somebody is.

What belongs to one sign-in waits in Redis, for as long as one may take, under its state. The
browser has the state in a cookie. So an answer counts once, and in the browser that set out.
"""

import json
import re
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.services.errors import NotFound, Refused
from app.services.people import identities, sessions
from app.web.account.sign_in import form, local, signed_in
from app.web.database import session_of
from app.web.guard import openid
from app.web.guard.people import over_tls, session_token
from app.web.urls import url
from jobs.events import get_redis
from models.settings import get_settings

router = APIRouter()

SECONDS = 600
"""The longest that somebody may take at the provider."""
COOKIE = "palimpsest-authorization"
LONGEST = 2000
"""Characters of what the provider sends back."""
Sent = Annotated[str, Query(max_length=LONGEST)]


@router.get("/sign-in/provider")
async def sign_in_at_provider(
    request: Request, back: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Send the browser to the provider."""
    _only_with_provider()
    try:
        asked = await openid.begin(_redirect_uri(request))
    except openid.ProviderError as error:
        return form(request, back, error=str(error), status=502)
    await run_in_threadpool(_keep, asked, local(back))
    answer = RedirectResponse(asked.url, 303, {"Cache-Control": "no-store"})
    answer.set_cookie(
        _cookie(request),
        asked.state,
        max_age=SECONDS,
        secure=over_tls(request),
        httponly=True,
        samesite="lax",  # the way back begins at another site
    )
    return answer


@router.get("/sign-in/provider/callback")
async def provider_callback(
    request: Request, code: Sent = "", state: Sent = "", error: Sent = ""
) -> Response:
    """Begin a session for the person whom the provider names."""
    _only_with_provider()
    answer = await _answer(request, code, state, error)
    answer.delete_cookie(_cookie(request), secure=over_tls(request), httponly=True, samesite="lax")
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _answer(request: Request, code: str, state: str, error: str) -> Response:
    ours = compare_digest(request.cookies.get(_cookie(request), "").encode(), state.encode())
    kept = await run_in_threadpool(_take, state) if state and ours else None
    if kept is None:
        return form(
            request,
            "",
            error="This sign-in has ended, or began in another browser. Begin again.",
            status=400,
        )
    asked, back = kept
    if error or not code:
        said = f" ({error})" if re.fullmatch(r"\w{1,60}", error) else ""
        refusal = f"{openid.provider_name()} did not sign you in{said}."
        return form(request, back, error=refusal, status=403)
    try:
        found = await openid.claims_of(code, asked, _redirect_uri(request))
        async with session_of(reads=False) as session:
            before = session_token(request)
            token = await run_in_threadpool(_begin, session, found, before)
    except openid.ProviderError as failed:
        return form(request, back, error=str(failed), status=502)
    except Refused as refused:
        return form(request, back, error=str(refused), status=403)
    return signed_in(request, token, back)


def _begin(session: Session, found: openid.Claims, before: str | None) -> str:
    return sessions.begin(session, identities.arrive(session, *found), before)


def _redirect_uri(request: Request) -> str:
    """Our page to which the provider sends the browser back. Its host was checked: it is ours."""
    return f"{request.url.scheme}://{request.url.netloc}{url('provider_callback')}"


def _keep(asked: openid.AuthorizationRequest, back: str) -> None:
    get_redis().set(_key(asked.state), json.dumps([asked, back]), ex=SECONDS)


def _take(state: str) -> tuple[openid.AuthorizationRequest, str] | None:
    """What belongs to a sign-in, this once; None if there is nothing."""
    kept = get_redis().getdel(_key(state))
    if kept is None:
        return None
    asked, back = json.loads(kept)
    return openid.AuthorizationRequest(*asked), back


def _key(state: str) -> str:
    return f"palimpsest:authorization:{sha256(state.encode()).hexdigest()}"


def _cookie(request: Request) -> str:
    return f"__Host-{COOKIE}" if over_tls(request) else COOKIE


def _only_with_provider() -> None:
    settings = get_settings()
    if not (settings.accounts and settings.oidc_issuer):
        raise NotFound("This server has no OpenID provider to sign in at.")
