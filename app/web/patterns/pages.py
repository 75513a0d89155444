"""The pattern page: every component of the pages, with sample data. No page links to it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.web.patterns.samples import patterns
from app.web.templates import render

router = APIRouter()


@router.get("/patterns")
def patterns_page(request: Request) -> HTMLResponse:
    """Every component, to be looked at and tested in one place."""
    return render(request, "pages/patterns.html", {"samples": patterns()})
