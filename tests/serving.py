"""Web servers with settings of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.processes import start, stop
from cli.servers import free_port
from cli.services import web_command
from tests import REPOSITORY
from tests.conftest import wait_for


@contextmanager
def serving(data: Path, **environment: str) -> Iterator[str]:
    """The address of a web server of one's own, with settings of its own."""
    port = free_port()
    command = web_command("127.0.0.1", port)
    child = start(f"own-{port}", command, data, cwd=REPOSITORY, env=os.environ | environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", child)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop([child])
