"""Pages: Jinja2 templates."""

from collections.abc import MutableMapping
from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
from app.web.roles import asking, may
from app.web.urls import url
from interp.vocabulary import VOCABULARY, Role
from jobs import progress
from jobs.kinds import KINDS
from models.shipped import STATIC, TEMPLATES


class _Environment(Environment):
    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """The globals of a template: those of all.

        Jinja2 would chain its own before them, and compare the chain's keys for each import of each
        page. That was a tenth of its time.
        """
        assert not d, "templates have no globals of their own"
        return self.globals


environment = _Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,  # a name that a page does not give is a mistake, not an empty place
    auto_reload=False,  # or every page looks whether its files have changed
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters |= {
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
    "in_short": progress.in_short,
    "job_label": lambda kind: KINDS[kind].label,
}
environment.globals |= {
    **{terms.__name__: terms for terms in VOCABULARY},
    "url": url,
    "who_asks": asking.get,
    "may_edit": lambda: may(Role.EDITOR),
    "may_administer": lambda: may(Role.ADMIN),
    "duration": duration,
    "seconds_left": progress.seconds_left,
    "no_worker": progress.no_worker,
    "job_percent": progress.percent,
    "jobs_now": progress.now,
}
_templates = Jinja2Templates(env=environment)


@cache
def _version(name: str) -> str:
    """Address of a static file, which changes with the file, so browsers may cache it."""
    return f"/static/{name}?{(STATIC / name).stat().st_mtime_ns:x}"


environment.globals["static"] = _version


def render(request: Request, name: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page.

    Args:
        context: The variables of its template. A page about no one study leaves ``study`` out.
    """
    return _templates.TemplateResponse(
        request, name, {"study": None, **context}, status_code=status
    )
