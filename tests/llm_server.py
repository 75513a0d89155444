"""A server that speaks OpenAI's protocol and answers as a test tells it to."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from interp.llm.llm import Message


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  it is never changed
    after: float = 0.0


Behaviour = Callable[[dict[str, Any], int], Reply]
"""From a request's body, and how many with the same body came before it, to a reply."""


class Failing(ThreadingHTTPServer):
    """Answers as it is told, and notes what it was asked, and when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave: Behaviour = lambda body, before: said("hello")
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Failing

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        with self.server.lock:
            before = sum(body == text for _, body, _ in self.server.requests)
            self.server.requests.append((time.monotonic(), text, dict(self.headers)))
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        reply = self.server.behave(json.loads(text or "{}"), before)
        time.sleep(reply.after)
        with self.server.lock:
            self.server.at_once -= 1
        try:
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json"} | reply.headers
            for name, value in (headers | {"Content-Length": str(len(reply.body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
        except ConnectionError:
            pass  # the client has given up

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Failing]:
    """The server while it runs."""
    failing = Failing()
    threading.Thread(target=failing.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield failing
    finally:
        failing.shutdown()
        failing.server_close()


def said(text: str | None) -> Reply:
    """A chat's reply. What it read and wrote is in numbers that nothing else gives."""
    usage = {"prompt_tokens": 30, "completion_tokens": 4}
    usage |= {"prompt_tokens_details": {"cached_tokens": 10}}  # type: ignore[dict-item]
    body = {"choices": [{"message": {"content": text}}], "usage": usage}
    return Reply(body=json.dumps(body).encode())


def chat(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def simulating(body: dict[str, Any], before: int) -> Reply:
    """Simulate any text with values of its tokens, and say "yes" to all else."""
    if "messages" not in body:
        return Reply(404, b"{}")
    found = re.findall(r"\[\".*\"\]", str(body["messages"][-1]["content"]))
    if not found:
        return said("yes")
    return said(json.dumps([[token, sum(token.encode()) % 10] for token in json.loads(found[-1])]))
