"""``palimpsest up`` as a person meets it: real processes, real signals, real failures."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from cli.servers import Servers
from tests.commands import assert_one_line
from tests.conftest import palimpsest


@contextmanager
def folder(model_cache: Path) -> Iterator[Path]:
    """A data folder with nothing in it but the fetched model."""
    with tempfile.TemporaryDirectory(prefix="palimpsest-up-") as name:
        data = Path(name)
        (data / "models").symlink_to(model_cache)
        yield data


@pytest.fixture
def home(model_cache: Path) -> Iterator[Path]:
    """A data folder of the test's own."""
    with folder(model_cache) as data:
        yield data


@pytest.fixture(scope="module")
def used(model_cache: Path) -> Iterator[Path]:
    """A data folder that several tests start from, whatever the one before left there.

    Making PostgreSQL's files and all tables takes longer than the rest of a start.
    """
    with folder(model_cache) as data:
        yield data


class Up:
    """A running ``palimpsest up``."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--no-demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=inherited | {"PALIMPSEST_HOME": str(home), "COLUMNS": "200"} | environment,
        )
        self.url = self._address()
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def _address(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if match := re.search(r"http://\S+", line):
                return match[0]
        raise AssertionError(self.process.communicate()[1])

    def child(self, word: str) -> psutil.Process:
        """The oldest child process with a word in its command line."""
        found = [child for child in self.children if word in " ".join(child.cmdline())]
        return min(found, key=lambda child: child.create_time())

    def stop(self, number: int) -> int:
        """Send a signal and wait for the end; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def assert_no_child_is_left(self) -> None:
        _, alive = psutil.wait_procs(self.children, timeout=10)
        assert alive == []


@contextmanager
def running(home: Path, *arguments: str, **environment: str) -> Iterator[Up]:
    """Run ``palimpsest up --no-demo`` on a free port, unless another one is given."""
    up = Up(home, *(arguments or ("--port", "0")), **environment)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.stop(signal.SIGTERM)


def port_of(url: str) -> str:
    return url.rsplit(":", 1)[1]


def test_starts_stops_and_starts_again(home: Path) -> None:
    with running(home) as up:
        assert httpx.get(f"{up.url}/healthz").json()["status"] == "ok"
        assert httpx.get(up.url, follow_redirects=True).is_success
        added = palimpsest(
            "user", "add", "ada", "--password", "lovelace", PALIMPSEST_HOME=str(home)
        )
        assert added.stdout == "ada may sign in now, as editor.\n", added.stderr
        assert len(up.children) >= 4
        assert up.stop(signal.SIGTERM) == 0
    up.assert_no_child_is_left()
    assert not (home / "servers.json").exists()

    with running(home) as again:
        added = palimpsest(
            "user", "add", "ada", "--password", "countess", PALIMPSEST_HOME=str(home)
        )
        assert added.stdout == "ada has a new password and is editor.\n", added.stderr
        assert again.stop(signal.SIGINT) == 0
    again.assert_no_child_is_left()


def test_only_one_in_a_folder_and_on_a_port(used: Path) -> None:
    with running(used) as up, tempfile.TemporaryDirectory(prefix="palimpsest-") as other:
        second = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(used))
        assert_one_line(second, str(used), "in use by another palimpsest")

        port = port_of(up.url)
        taken = palimpsest("up", "--no-demo", "--port", port, PALIMPSEST_HOME=other)
        assert_one_line(taken, f"port {port} on 127.0.0.1 is taken", "palimpsest up --port")
        assert httpx.get(f"{up.url}/healthz").is_success


def test_doctor(used: Path) -> None:
    with running(used):
        healthy = palimpsest("doctor", PALIMPSEST_HOME=str(used))
        assert healthy.returncode == 0, healthy.stdout + healthy.stderr
        assert "problem" not in healthy.stdout
    stopped = palimpsest("doctor", PALIMPSEST_HOME=str(used))
    assert stopped.returncode == 1
    lines = [line for line in stopped.stdout.splitlines() if "problem" in line]
    assert len(lines) == 4  # PostgreSQL, Redis, worker, web server
    assert all("Start with `palimpsest up`" in line for line in lines)


def test_doctor_finds_a_web_server_that_does_not_answer(used: Path) -> None:
    with running(used) as up:
        web = up.child("app.server")
        web.suspend()
        sick = palimpsest("doctor", PALIMPSEST_HOME=str(used))
        web.resume()
        assert sick.returncode == 1
        (line,) = (line for line in sick.stdout.splitlines() if "problem" in line)
        assert "web server" in line and up.url in line


@pytest.mark.parametrize(
    ("name", "word"),
    [("worker", "worker@"), ("interactive", "interactive@"), ("web", "app.server")],
)
def test_dead_child_starts_again(used: Path, name: str, word: str) -> None:
    with running(used) as up:
        first = up.child(word)
        first.kill()
        assert up.process.stdout is not None
        line = next(line for line in up.process.stdout if "killed by signal 9" in line)
        assert f"The {name} process" in line and str(used / "log" / f"{name}.log") in line
        deadline = time.monotonic() + 60
        while not (children := _named(up, word)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert children and first not in children
        while not _answers(up.url) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _answers(up.url) and up.process.poll() is None
        up.children += psutil.Process(up.process.pid).children(recursive=True)
    up.assert_no_child_is_left()


def _named(up: Up, word: str) -> list[psutil.Process]:
    children = psutil.Process(up.process.pid).children()
    return [
        child
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE and word in " ".join(child.cmdline())
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_dead_server(used: Path, name: str) -> None:
    with running(used) as up:
        up.child(name).kill()
        _, errors = up.process.communicate(timeout=60)
        assert up.process.returncode == 1
        (line,) = errors.splitlines()
        assert f"The {name} process was killed by signal 9" in line
        assert str(used / "log" / f"{name}.log") in line
    up.assert_no_child_is_left()


def test_goes_on_after_it_was_killed(used: Path) -> None:
    with running(used) as up:
        port = port_of(up.url)
        up.stop(signal.SIGKILL)
        assert any(child.is_running() for child in up.children)
        with running(used, "--port", port) as again:
            up.assert_no_child_is_left()
            assert httpx.get(f"{again.url}/healthz").is_success


def test_servers_of_ones_own(home: Path, servers: Servers) -> None:
    environment = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    with running(home, **environment) as up:
        assert httpx.get(f"{up.url}/healthz").is_success
        assert not (home / "postgres").exists()
        commands = [" ".join(child.cmdline()) for child in up.children]
        assert not any("postgres" in command or "valkey" in command for command in commands)


def test_address_that_is_not_here(home: Path) -> None:
    run = palimpsest("up", "--no-demo", "--host", "192.0.2.1", PALIMPSEST_HOME=str(home))
    assert_one_line(run, "192.0.2.1 is no address of this machine")


def test_long_path_of_the_data_folder(home: Path) -> None:
    """A Unix socket's path may not be long, a data folder's may."""
    with running(home / ("d" * 120)) as up:
        assert httpx.get(f"{up.url}/healthz").is_success


def test_port_from_the_environment(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(home), PALIMPSEST_PORT=port)
        assert_one_line(run, f"port {port} on 127.0.0.1 is taken")
    run = palimpsest("up", PALIMPSEST_HOME=str(home), PALIMPSEST_PORT="many")
    assert run.returncode == 2
    assert run.stderr == "palimpsest: PALIMPSEST_PORT: Use a whole number.\n"
