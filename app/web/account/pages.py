"""The page of one's own account, and signing out."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from app.services.errors import Conflict
from app.services.people import sessions, tokens
from app.services.people.schemas import LONGEST_LABEL, TokenCreate
from app.web.database import Database
from app.web.errors import messages
from app.web.guard.people import CurrentPerson, take_cookie
from app.web.roles import Person, has, needs
from app.web.templates import render
from app.web.urls import url
from interp.vocabulary import Role, TokenScope
from models.settings import get_settings

router = APIRouter()

NO_STORE = {"Cache-Control": "no-store"}
"""What is shown once is not kept by the browser."""

TokenId = Annotated[int, Path(ge=1, lt=2**63, description="Number of an API token.")]


@router.post("/sign-out")
@needs(Role.READER, "session")
def sign_out(request: Request, session: Database, person: CurrentPerson) -> RedirectResponse:
    """End this session."""
    sessions.end(session, person.held)
    answer = RedirectResponse(url("home" if get_settings().public else "sign_in"), 303)
    take_cookie(request, answer)
    return answer


@router.get("/account")
@needs(Role.READER, "session")
def account(request: Request, session: Database, person: CurrentPerson) -> HTMLResponse:
    """One's own role and API tokens."""
    return _account(request, session, person)


@router.post("/account/tokens")
@needs(Role.READER, "session")
def make_token(
    request: Request,
    session: Database,
    person: CurrentPerson,
    label: Annotated[str, Form()] = "",
    scope: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """Make an API token, and show it, this once."""
    fields = {"label": label, "scope": scope}
    try:
        made = tokens.make(session, person.user_id, TokenCreate.model_validate(fields))
    except ValidationError as error:
        return _account(request, session, person, fields, messages(error), status=422)
    except Conflict as error:
        return _account(request, session, person, fields, {"label": str(error)}, status=409)
    return _account(request, session, person, made=made, status=201)


@router.post("/account/tokens/{token_id}/revoke")
@needs(Role.READER, "session")
def revoke_token(token_id: TokenId, session: Database, person: CurrentPerson) -> RedirectResponse:
    """Revoke an API token of one's own."""
    tokens.revoke(session, person.user_id, token_id=token_id)
    return RedirectResponse(url("account"), 303)


def _account(
    request: Request,
    session: Database,
    person: Person,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    made: str = "",
    status: int = 200,
) -> HTMLResponse:
    context = {
        "person": person,
        "allowed": [role.meaning for role in Role if has(person, role)],
        "tokens": tokens.list_tokens(session, person.user_id),
        "scopes": [(str(scope), f"{scope.label}: {scope.meaning}") for scope in TokenScope],
        "values": values or {},
        "errors": errors or {},
        "made": made,
        "longest": LONGEST_LABEL,
    }
    answer = render(request, "pages/account.html", context, status)
    answer.headers.update(NO_STORE)
    return answer
