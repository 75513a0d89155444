"""Limits on the size and the time of a request, before it is parsed or kept for long.

With accounts, the server reads a body only of a person who has signed in. It reads the body whole
before the answer takes a place. So no place waits for a client.
"""

from anyio import current_time, fail_after
from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.services.exports.imports import LARGEST
from app.web.errors import respond, respond_to_database
from app.web.guard.people import sign_in
from app.web.places import Busy, Places
from app.web.urls import url
from models.settings import get_settings

BODY = 2**20
"""Bytes of a request's body, at most: the numbers of 100,000 latents as JSON."""
SIGN_IN = 32 * 2**10
"""Bytes of a body with a name and a password, at most. Anybody may send one."""
UPLOAD = LARGEST + BODY
"""Bytes of a body with a file of explanations, at most. Files are read to the disk."""
UPLOADS = Places(2, "Many files are being imported. Try again when that is done.", waiting=100)
"""Fewer than changes have places: what a file says is checked in one."""
BODIES = 32 * BODY
"""Bytes of all bodies together that this process holds. Parsed, they are larger by far."""
SECONDS = 20.0
"""Seconds that a body may take to come, and one more for every ``RATE`` bytes."""
RATE = 10_000

_held = 0


def limited(app: ASGIApp) -> ASGIApp:
    """Middleware: refuse bodies that are too large, too slow, or of somebody unknown."""

    async def with_limits(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if request.url.path == url("sign_in"):
                await _with_whole_body(app, scope, _Body(request, receive, SIGN_IN), send)
                return
            if get_settings().accounts:
                await sign_in(request)
            if request.method == "POST" and request.url.path.endswith("/import"):
                async with UPLOADS.one():
                    await app(scope, _Body(request, receive, UPLOAD).receive, send)
            else:
                await _with_whole_body(app, scope, _Body(request, receive, BODY), send)
        except HTTPException as error:
            answer = respond(request, error.status_code, error.detail)
            answer.headers.update(error.headers or {})
            await answer(scope, receive, send)
        except SQLAlchemyError as error:  # the sign-in's, as the app answers to its own
            await respond_to_database(request, error)(scope, receive, send)

    return with_limits


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


async def _with_whole_body(app: ASGIApp, scope: Scope, body: "_Body", send: Send) -> None:
    """Call the app when the whole body is here."""
    global _held
    whole = bytearray()
    try:
        more = True
        while more:
            message = await body.receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            whole += part
            _held += len(part)
            if _held > BODIES:
                raise Busy("Too much is sent to the server at once. Try again in a few seconds.")
            more = message.get("more_body", False)
        waiting = [{"type": "http.request", "body": bytes(whole), "more_body": False}]

        async def receive() -> Message:
            return waiting.pop() if waiting else await body.rest()

        await app(scope, receive, send)
    finally:
        _held -= len(whole)


class _Body:
    """The body of a request as it comes: counted, and timed."""

    def __init__(self, request: Request, receive: Receive, largest: int) -> None:
        self.rest, self._largest = receive, largest
        self._began, self._bytes, self._complete = current_time(), 0, False
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > largest:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next part of it.

        Raises:
            HTTPException: 413 when it is too large, 408 when it is too slow.
        """
        if self._complete:
            return await self.rest()
        until = self._began + SECONDS + self._bytes / RATE
        try:
            with fail_after(max(0.0, until - current_time())):
                message = await self.rest()
        except TimeoutError:
            raise HTTPException(
                408,
                "The request stopped coming before it was complete, so nothing was changed. "
                "Send it again.",
                {"Connection": "close"},
            ) from None
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._largest:
            raise self._too_large()
        return message

    def _too_large(self) -> HTTPException:
        mb, kb = self._largest // 2**20, self._largest // 2**10
        size = f"{mb} MB" if mb else f"{kb} KB"
        return HTTPException(
            413,
            f"The request has more than {size}, so nothing of it was read. Send less at once.",
        )
