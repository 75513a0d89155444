"""An export on its way to a client."""

from collections.abc import AsyncIterator, Generator

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.services.exports.queries import DOWNLOADS
from app.web.places import Places

PLACES = Places(
    DOWNLOADS,
    f"{DOWNLOADS} exports are being sent already. Try again in a minute, or write one with "
    "`palimpsest export`.",
)


class Download(StreamingResponse):
    """Sends the pieces of a generator as a file, and closes the generator whatever happens.

    A response leaves its generator to the collector when a client goes, and with it what the
    generator holds.
    """

    def __init__(self, pieces: Generator[bytes], name: str) -> None:
        disposition = f'attachment; filename="{name}"'
        super().__init__(
            self._read(), media_type="application/zip", headers={"Content-Disposition": disposition}
        )
        self._pieces = pieces
        # A thread of its own: those of answers wait for nobody.
        self._thread = CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            Busy: As many are being sent as may be.
        """
        async with PLACES.one():
            try:
                await super().__call__(scope, receive, send)
            finally:
                with CancelScope(shield=True):
                    await to_thread.run_sync(self._pieces.close, limiter=self._thread)

    async def _read(self) -> AsyncIterator[bytes]:
        while True:
            piece = await to_thread.run_sync(next, self._pieces, b"", limiter=self._thread)
            if not piece:
                return
            yield piece
