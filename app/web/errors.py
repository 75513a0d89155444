"""Answers to a person or a program after an error: one sentence, never a stack trace.

Under ``/api`` errors are problem details (RFC 9457). Elsewhere they are pages with a way back.
"""

import logging
import re
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.responses import JSONResponse, RedirectResponse, Response
from kombu.exceptions import OperationalError as BrokerError
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from app.services.errors import Conflict, FieldErrors, Forbidden, NoStudy, NotFound, Refused
from app.web.templates import render
from app.web.urls import url
from interp.cleaning import HALF
from interp.errors import InputError
from interp.validation import message
from models.failures import DISK, REDIS, database_failure, is_disk_full

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error, as problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="The error, and the way to correct it.")
    errors: list[dict[str, str]] = Field(
        default_factory=list, description="Fields that are not valid: field and message of each."
    )


STATUS: dict[type[Refused], int] = {NotFound: 404, Conflict: 409, Forbidden: 403}

JSON = ("application/json", "+json")
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
"""The ends of content types that a body may have. The first one is told."""

MOST_ERRORS = 20
"""Fields that an answer names at most: a body may have any number of wrong ones."""

UNREADABLE = "There was an error parsing the body"
"""FastAPI's message about a body that it cannot read."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status in (400, 401, 403, 404, 408, 409, 413, 421, 422, 429, 503)
}
"""For the API description of every JSON endpoint."""


def messages(error: ValidationError) -> dict[str, str]:
    """The error of each field of a form. That of the whole form is under ``form``."""
    return {_field(item): message(item) for item in error.errors()}


def _field(error: ErrorDetails) -> str:
    return next((part for part in reversed(error["loc"]) if isinstance(part, str)), "form")


class NamedStudy(NamedTuple):
    """A study by its address alone, for the way back to its pages."""

    slug: str
    title: str


def _named(path: str) -> NamedStudy | None:
    """The study that an address is of, if it is of one. Nobody knows whether there is one."""
    found = re.match(r"/studies/(?!new(?:/|$))([a-z0-9-]{1,80})(?:/|$)", path)
    return NamedStudy(found[1], found[1]) if found else None


def respond(
    request: Request,
    status: int,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    *,
    of_study: bool = True,
) -> Response:
    """The answer to a request that failed.

    Args:
        of_study: False if the study of the address does not exist: there is no way back to it.
    """
    title = HTTPStatus(status).phrase
    if request.url.path.startswith("/api/"):
        problem = Problem(title=title, status=status, detail=detail, errors=errors or [])
        return JSONResponse(problem.model_dump(), status, media_type="application/problem+json")
    if (
        status == 401
        and request.method == "GET"
        and "text/html" in request.headers.get("accept", "")
    ):
        # A browser goes to the form, and from there back to the page.
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(url("sign_in", next=asked), 303)
    # What runs is not asked for: the database may be what failed.
    context = {
        "title": title,
        "status": status,
        "detail": detail,
        "now": None,
        "study": _named(request.url.path) if of_study and status != 401 else None,
    }
    return render(request, "pages/error.html", context, status)


def respond_to_database(request: Request, error: SQLAlchemyError) -> Response:
    """The answer to a request for which PostgreSQL could not do what was asked of it.

    Raises:
        SQLAlchemyError: The error itself, where the fault is the program's.
    """
    failure = database_failure(error)
    if failure is None:
        raise error
    log.error("The database: %s", getattr(error, "orig", error))
    return respond(request, *failure)


def _why_unreadable(cause: BaseException | None) -> str:
    match cause:
        case UnicodeDecodeError():
            return "The body of the request is not UTF-8."
        case RecursionError():
            return "The JSON of the request is nested too deeply."
        case ValueError() if "digits" in str(cause):
            return "A number of the request has too many digits: use at most 4,300."
    return "The body of the request cannot be read."


def _wrong_body(request: Request, error: RequestValidationError) -> str:
    """What is wrong with a body as a whole. Empty if its fields can be looked at."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        place = first["loc"][1]
        if place >= len(error.body):
            return f"The body is not JSON: it ends too early, after character {place:,}."
        return f"The body is not JSON from character {place + 1:,} on. Correct it there."
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is None or first["loc"][0] != "body" or not request.url.path.startswith("/api/"):
        return ""
    takes = FORMS if isinstance(field.field_info, Form) else JSON
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"The request has no body: send one as {takes[0]}."
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given.endswith(takes):
        return ""
    kind = f"the content type {given}" if given else "no content type"
    return f"The body has {kind}: send it as {takes[0]}."


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app readable."""

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if error.detail == UNREADABLE:
            # FastAPI says so of whatever goes wrong while it reads a body.
            if is_disk_full(error.__cause__):
                return respond(request, *DISK)
            detail = _why_unreadable(error.__cause__)
        elif error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"There is no page at {request.url.path}."
        response = respond(request, error.status_code, detail)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        return respond(request, status, str(error), of_study=not isinstance(error, NoStudy))

    @app.exception_handler(RequestValidationError)
    def not_valid(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if any(item["loc"][0] == "path" for item in errors):
            return respond(request, 404, f"There is nothing at {request.url.path}.")
        if whole := _wrong_body(request, error):
            return respond(request, 422, whole, [{"field": "body", "message": whole}])
        fields = [
            {
                "field": ".".join(map(str, item["loc"][1:])) or str(item["loc"][0]),
                "message": "Choose a file."
                if "Expected UploadFile" in item["msg"]
                else message(item),
            }
            for item in errors[:MOST_ERRORS]
        ]
        detail = " ".join(f"{field['field']}: {field['message']}" for field in fields)
        if more := len(errors) - len(fields):
            detail += f" {more:,} more fields are not valid."
        return respond(request, 422, detail, fields)

    @app.exception_handler(InputError)
    def bad_input(request: Request, error: InputError) -> Response:
        errors = error.errors if isinstance(error, FieldErrors) else {}
        fields = [{"field": name, "message": text} for name, text in errors.items()]
        return respond(request, 422, str(error), fields)

    @app.exception_handler(SQLAlchemyError)
    def database_error(request: Request, error: SQLAlchemyError) -> Response:
        return respond_to_database(request, error)

    @app.exception_handler(RedisError)
    @app.exception_handler(BrokerError)
    def redis_error(request: Request, error: Exception) -> Response:
        log.error("Redis: %s", error)
        return respond(request, *REDIS)

    @app.exception_handler(OSError)
    def system_error(request: Request, error: OSError) -> Response:
        if not is_disk_full(error):
            raise error
        log.error("The disk is full: %s", error)
        return respond(request, *DISK)

    @app.exception_handler(UnicodeEncodeError)
    def not_text(request: Request, error: UnicodeEncodeError) -> Response:
        # Half a character that no schema has looked at, on its way to the database or to a page.
        log.error("Text that cannot be encoded: %r", error)
        return respond(request, 422, HALF)

    @app.exception_handler(Exception)
    def unknown_error(request: Request, error: Exception) -> Response:
        # Starlette raises it again after this answer, so the server's log has the trace.
        return respond(
            request, 500, "Something went wrong in the server; its log says what. Try again."
        )
