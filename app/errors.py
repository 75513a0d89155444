"""What a person or a program gets when something is wrong: one sentence, never a stack trace.

Under ``/api`` errors are problem details (RFC 9457); elsewhere they are pages with a way back.
"""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from app.templates import render
from interp.errors import InputError

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error, as problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What was wrong and what to do.")
    errors: list[dict[str, str]] = Field(
        default_factory=list, description="Fields that are not valid: field and message of each."
    )


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status in (400, 401, 403, 404, 408, 409, 413, 422, 503)
}
"""For the API description of every JSON endpoint."""


class NotFound(HTTPException):
    """There is no such thing. The message says what there is instead."""

    def __init__(self, detail: str) -> None:
        super().__init__(404, detail)


class Conflict(HTTPException):
    """The thing is in a state in which this cannot be done."""

    def __init__(self, detail: str) -> None:
        super().__init__(409, detail)


class FieldErrors(InputError):
    """Fields of a form that are well-formed, and yet cannot work: by name, what is wrong."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {text}" for field, text in errors.items()))
        self.errors = errors


def message(error: ErrorDetails) -> str:
    """One plain sentence for a validation error of Pydantic."""
    context = error.get("ctx") or {}
    kind = error["type"]
    if kind in {"missing", "string_too_short"}:
        return "Fill in this field."
    if kind == "string_pattern_mismatch":
        if context["pattern"].startswith("^[a-z0-9]"):
            return "Use lower-case letters, digits and hyphens; begin with a letter or digit."
        return "Use one line of text without control characters."
    if kind == "string_too_long":
        return f"Use at most {context['max_length']:,} characters."
    if kind in {"int_parsing", "int_type", "int_from_float"}:
        return "Use a whole number."
    if kind == "float_parsing":
        return "Use a number."
    if kind == "greater_than_equal":
        return f"Use {_bound(context['ge'])} or more."
    if kind == "less_than_equal":
        return f"Use {_bound(context['le'])} or less."
    return error["msg"].removeprefix("Value error, ").rstrip(".") + "."


def messages(error: ValidationError) -> dict[str, str]:
    """What is wrong with each field of a form; with the form as a whole, under ``form``."""
    return {_field(item): message(item) for item in error.errors()}


def _field(error: ErrorDetails) -> str:
    return next((part for part in reversed(error["loc"]) if isinstance(part, str)), "form")


def _bound(number: float) -> str:
    return f"{number:,}".removesuffix(".0")


def respond(
    request: Request, status: int, detail: str, errors: list[dict[str, str]] | None = None
) -> Response:
    """The answer to a request that failed."""
    title = HTTPStatus(status).phrase
    if request.url.path.startswith("/api/"):
        problem = Problem(title=title, status=status, detail=detail, errors=errors or [])
        return JSONResponse(problem.model_dump(), status, media_type="application/problem+json")
    # What runs is not asked for: the database may be what failed.
    context = {"title": title, "status": status, "detail": detail, "now": None}
    return render(request, "error.html", context, status)


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app readable."""

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"There is no page at {request.url.path}."
        response = respond(request, error.status_code, detail)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    def not_valid(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if any(item["loc"][0] == "path" for item in errors):
            return respond(request, 404, f"There is nothing at {request.url.path}.")
        fields = [
            {
                "field": ".".join(map(str, item["loc"][1:])) or str(item["loc"][0]),
                "message": message(item),
            }
            for item in errors
        ]
        detail = " ".join(f"{field['field']}: {field['message']}" for field in fields)
        return respond(request, 422, detail, fields)

    @app.exception_handler(InputError)
    def bad_input(request: Request, error: InputError) -> Response:
        errors = error.errors if isinstance(error, FieldErrors) else {}
        fields = [{"field": name, "message": text} for name, text in errors.items()]
        return respond(request, 422, str(error), fields)

    @app.exception_handler(OperationalError)
    def database_error(request: Request, error: OperationalError) -> Response:
        log.error("The database cannot be used: %s", error)
        return respond(
            request,
            503,
            "The database (PostgreSQL) cannot be reached, so nothing was read or saved. "
            "Check that it runs, then try again.",
        )

    @app.exception_handler(Exception)
    def unknown_error(request: Request, error: Exception) -> Response:
        # Starlette raises it again after this answer, so the server's log has the trace.
        return respond(
            request, 500, "Something went wrong in the server; its log says what. Try again."
        )
