"""Whether another site made a browser ask, and what browsers may load."""

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.roles import READING
from models.settings import get_settings

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        # Token colours are style attributes, and charts style their own elements.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


# It stands before every answer and waits for nothing. So it is a coroutine: going to another thread
# and back takes longer than it does.
async def same_site(request: Request) -> None:
    """Refuse a change that a page of another site makes a browser ask for.

    Browsers name the origin of a request. Other programs name none, and pass. The header Host names
    this site, because `app.web.guard.hosts` lets no foreign name through. For a proxy that gives
    its own Host, ``PALIMPSEST_HOSTS`` names it.

    Raises:
        HTTPException: 403.
    """
    if request.method in READING:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    ours = {request.headers.get("host", "").lower(), *map(str.lower, get_settings().hosts)}
    foreign = origin is not None and origin.partition("://")[2].lower() not in ours
    if site not in {"same-origin", "none"} or foreign:
        raise HTTPException(403, "This came from another site, so nothing was changed.")


def security_headers(app: ASGIApp) -> ASGIApp:
    """Middleware: what browsers may do with our pages."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
            await send(message)

        await app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    return with_headers
