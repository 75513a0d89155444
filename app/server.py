"""Serve the app: `python -m app.server --host 127.0.0.1 --port 8000`.

uvicorn has no time limit for a client that sends half a head, or that does not read its answer.
"""

import argparse
import resource
from asyncio import TimerHandle, Transport
from collections.abc import Sequence
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CLIENTS = 500
"""Connections of clients to a process, at most. Who comes later is refused, and nobody else is."""
FILES = 4096
"""File descriptors that a process may open, where the system lets it."""
HEAD = 2**16
"""Bytes of a request's head (its line and headers), at most, and of what comes between two parts of
its body or after the last one."""
HEAD_SECONDS = 20.0
"""Seconds in which it must be here, from the connection or the last answer on."""
SEND_SECONDS = 30.0
"""Seconds after which a client that takes nothing of its answer is cut off."""
BUFFER = 2**18
"""Bytes of an answer that the system holds for a client."""
LOOK = 1.0
"""Seconds between two looks at a connection."""


class Connection(HttpToolsProtocol):
    """A connection that does not wait for ever for its client."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The system says that there is room again when a third of the buffer is sent. With the
        # megabytes that it may grow to, a slow client would seem to take nothing for a while.
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER)
        self._moved = self.loop.time()
        self._waits_since: float | None = self._moved
        self._head = 0
        self._unsent, self._drained = 0, False
        self._look_again: TimerHandle = self.loop.call_later(LOOK, self._look)
        if len(self.connections) > CLIENTS:
            self._refuse(503, "Too many connections. Try again in a few seconds.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_again.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._head > HEAD and not self.transport.is_closing():
            self._refuse(431, "The headers are too large.")

    def on_headers_complete(self) -> None:
        self._head, self._waits_since = 0, None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # What is not of a body is of a head, or of the trailers and the framing of chunks.
        self._head = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # no other request has come meanwhile
            self._waits_since = self.loop.time()

    def resume_writing(self) -> None:
        self._drained = True
        super().resume_writing()

    def _look(self) -> None:
        now = self.loop.time()
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent or self._drained:
            self._moved = now
        self._unsent, self._drained = unsent, False
        if now - self._moved > SEND_SECONDS:
            # To close it would wait until the client has taken the rest.
            self.transport.abort()
        elif self._waits_since is not None and now - self._waits_since > HEAD_SECONDS:
            self.transport.close()
        self._look_again = self.loop.call_later(LOOK, self._look)

    def _refuse(self, status: int, reason: str) -> None:
        cycle = self.cycle
        if cycle is not None and (cycle.more_body or not cycle.response_complete):
            self.transport.abort()  # nothing can be said in the middle of an exchange
            return
        phrase = {431: "Request Header Fields Too Large", 503: "Service Unavailable"}[status]
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\nRetry-After: 10\r\n"
            f"Content-Length: {len(reason)}\r\nConnection: close\r\n\r\n{reason}".encode()
        )
        self.transport.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it."""
    serve(**options(arguments))


def options(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The options that a command line names."""
    parser = argparse.ArgumentParser(description="Serve the pages and the JSON API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--no-access-log", action="store_false", dest="access_log")
    return vars(parser.parse_args(arguments))


def serve(**options: Any) -> None:
    """Serve with options of :func:`uvicorn.run`."""
    # A client takes a file descriptor, and two with a stream of events. macOS begins with 256.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = FILES if hard == unlimited else min(hard, FILES)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    uvicorn.run(
        "app.main:app",
        http=Connection,
        ws="none",
        # Pages keep a stream of events open, so it does not wait for them to end.
        timeout_graceful_shutdown=2,
        **options,
    )


if __name__ == "__main__":
    main()
