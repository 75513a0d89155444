"""The workers and the web server, as child processes."""

import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from cli import processes
from cli.errors import CommandError

HEALTH_TIMEOUT = 60.0
"""Seconds that the web server may take to answer."""
WORKERS = {"worker": "gpu,cpu", "interactive": "interactive"}
"""The workers, each with its queues: one for long work, and one for what people wait for."""


def start_worker(data: Path, name: str = "worker") -> processes.Child:
    """Start one of the workers."""
    # SIGQUIT: leave the task in hand, which loses one unit of it; SIGTERM would wait for its end.
    return processes.start(name, worker_command(name), data, stop_signal=signal.SIGQUIT)


def worker_command(name: str) -> list[str]:
    """The command that runs one of the workers."""
    command = ["celery", "-A", "jobs.queue", "worker", "-Q", WORKERS[name], "-n", f"{name}@%h"]
    options = ["--concurrency", "1", "--pool", "prefork", "--loglevel", "INFO"]
    return [sys.executable, "-m", *command, *options]


def start_web(data: Path, host: str, port: int) -> processes.Child:
    """Start the web server."""
    return processes.start("web", web_command(host, port), data)


def web_command(host: str, port: int, *more: str) -> list[str]:
    """The command that starts the web server in a process of its own."""
    command = [sys.executable, "-m", "app.server", "--host", host, "--port", str(port)]
    return [*command, *more]


def check_port(host: str, port: int) -> None:
    """Raise a CommandError if the web server could not listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        raise CommandError(
            f"Port {port} is for administrators only; choose one above 1023: "
            "palimpsest up --port 8000"
        ) from None
    except socket.gaierror:
        raise CommandError(f"{host} is no address of this machine.") from None
    except OSError as error:
        if "in use" not in str(error):
            raise CommandError(
                f"{host} is no address of this machine ({error.strerror})."
            ) from None
        raise CommandError(
            f"port {port} on {host} is taken; stop what uses it or choose another: "
            f"palimpsest up --port {port + 1 if port < 65535 else 8000}"
        ) from None


def address(host: str, port: int) -> str:
    """The address for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def wait_until_healthy(url: str, children: Sequence[processes.Child]) -> None:
    """Wait until the web server answers and reaches both servers.

    Raises:
        CommandError: A child ended, or it takes too long.
    """
    deadline = time.monotonic() + HEALTH_TIMEOUT
    reason = "no answer"
    while time.monotonic() < deadline:
        processes.check(children)
        try:
            answer = httpx.get(f"{url}/healthz", timeout=5)
            if answer.is_success:
                return
            reason = answer.text
        except httpx.TransportError as error:
            reason = str(error)
        time.sleep(0.2)
    raise CommandError(f"The web server is not healthy after {HEALTH_TIMEOUT:.0f} s: {reason}")
