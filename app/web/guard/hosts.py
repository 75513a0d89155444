"""The names that this server answers to.

The danger is DNS rebinding: another site points its name at this machine after its page was loaded.
The browser then takes page and server for one origin, so the page could read and change everything.
Its requests still carry the name, in the header Host. So this server refuses unknown names.

An IP address names this machine itself: no name was looked up that could point elsewhere.
``localhost`` and the names below it are this machine by definition (RFC 6761).
"""

import re
from ipaddress import ip_address

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.errors import respond
from interp.cleaning import shown
from models.settings import get_settings

ANY = "*"
"""In ``PALIMPSEST_HOSTS``: whatever the name, as behind a proxy that checks it."""
_HOST = re.compile(r"(\[[\da-f:.]+\]|[^\[\]:/@\s]+)(:\d*)?", re.IGNORECASE)


def name_of(host: str) -> str:
    """A host without its port, as names are compared. Empty if it is no host."""
    found = _HOST.fullmatch(host)
    return found[1].lower().removesuffix(".") if found else ""


def is_ours(host: str) -> bool:
    """True if this server answers to a value of the header Host."""
    settings = get_settings()
    if ANY in settings.hosts:
        return True
    name = name_of(host)
    if name in {"localhost", settings.host.lower(), *map(name_of, settings.hosts)} - {""}:
        return True
    return name.endswith(".localhost") or _is_address(name.strip("[]"))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def known_hosts(app: ASGIApp) -> ASGIApp:
    """Middleware: refuse requests to a name that is not this server's.

    A request without a Host, as HTTP/1.0 allows, comes from no browser, and passes.
    """

    async def with_known_host(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
            foreign = next((host for host in hosts if not is_ours(host)), None)
            if foreign is not None:
                detail = (
                    f"This server does not answer to the name {shown(foreign)}. If it is its name, "
                    "whoever runs the server adds it to PALIMPSEST_HOSTS."
                )
                await respond(Request(scope), 421, detail)(scope, receive, send)
                return
        await app(scope, receive, send)

    return with_known_host
