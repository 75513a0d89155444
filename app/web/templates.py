"""Pages: Jinja2 templates."""

from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from app.services.formatting import (
    about,
    ago,
    duration,
    figure,
    in_bytes,
    interval,
    p_value,
    percent,
    percents,
    seconds_in_words,
    simulator_name,
    visible,
)
from jobs import progress
from jobs.kinds import KINDS
from models.shipped import STATIC, TEMPLATES

templates = Jinja2Templates(directory=TEMPLATES)
templates.env.auto_reload = False  # or every page looks whether thirty files have changed
templates.env.trim_blocks = True
templates.env.lstrip_blocks = True
templates.env.filters |= {
    "figure": figure,
    "interval": interval,
    "percent": percent,
    "percents": percents,
    "p_value": p_value,
    "about": about,
    "seconds": seconds_in_words,
    "ago": ago,
    "bytes": in_bytes,
    "visible": visible,
    "simulator_name": simulator_name,
    "job_label": lambda kind: KINDS[kind].label,
}
templates.env.globals |= {
    "duration": duration,
    "seconds_left": progress.seconds_left,
    "no_worker": progress.no_worker,
    "job_percent": progress.percent,
    "jobs_now": progress.now,
}


@cache
def _version(name: str) -> str:
    """Address of a static file; it changes with the file, so browsers may keep what they have."""
    return f"/static/{name}?{(STATIC / name).stat().st_mtime_ns:x}"


templates.env.globals["static"] = _version


def render(request: Request, name: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page."""
    return templates.TemplateResponse(request, name, context, status_code=status)
