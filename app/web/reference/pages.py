"""The page that lists the API's operations."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.web.reference.operations import API, by_subject, schemas
from app.web.templates import render

router = APIRouter()


@router.get("/api")
def reference(request: Request) -> HTMLResponse:
    """Every operation: what it takes and what it answers with."""
    api = request.app.openapi()
    context = {"prefix": API, "subjects": by_subject(api), "schemas": schemas(api)}
    return render(request, "pages/api.html", context)
