"""The wheel works without the checkout: built, installed in a bare environment, run elsewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import REPOSITORY
from tests.studies import small_study

START_SECONDS, COLLECT_SECONDS = 300, 900
PIP = ["pip", "--quiet", "--disable-pip-version-check"]

pytestmark = pytest.mark.timeout(1800)  # installing torch takes most of it


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and what the wheel asks for."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", *PIP, "wheel", "--no-deps", "-w", folder, REPOSITORY]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("palimpsest-*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    constraints = ["-c", REPOSITORY / "constraints.txt"]
    subprocess.run(
        [programs / "python", "-m", *PIP, "install", "--no-compile", *constraints, wheel],
        check=True,
    )
    return programs


@pytest.fixture(scope="module")
def environment(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a data folder with nothing in it but the fetched model."""
    data = tmp_path_factory.mktemp("data")
    (data / "models").symlink_to(model_cache)
    mine = ("DATABASE_URL", "REDIS_URL", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in mine}
    return kept | {"PALIMPSEST_HOME": str(data), "PALIMPSEST_PORT": "0", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def up(
    installed: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running ``palimpsest up`` in an empty folder, and its address."""
    command = [installed / "palimpsest", "up", "--no-demo"]
    process = subprocess.Popen(
        command, cwd=tmp_path_factory.mktemp("empty"), env=environment, stdout=-1, text=True
    )
    address = Path(environment["PALIMPSEST_HOME"]) / "address"
    deadline = time.monotonic() + START_SECONDS
    try:
        while not (address.exists() and _answers(address.read_text())):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.5)
        yield process, address.read_text()
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def test_pages_and_their_static_files(up: tuple[subprocess.Popen[str], str]) -> None:
    _, url = up
    page = httpx.get(url, follow_redirects=True)
    assert page.is_success, page.text
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    assert {Path(file.partition("?")[0]).suffix for file in files} >= {".css", ".js", ".svg"}
    for file in files:
        answer = httpx.get(url + file)
        assert answer.is_success and answer.content, file


def test_a_study_of_the_demos_coder_is_collected_and_explained(
    up: tuple[subprocess.Popen[str], str], installed: Path, environment: dict[str, str]
) -> None:
    _, url = up
    where = [installed / "python", "-c", "from models.shipped import DEMO; print(DEMO)"]
    run = subprocess.run(
        where, cwd="/", env=environment, capture_output=True, text=True, check=True
    )
    demo = run.stdout.strip()
    assert Path(demo).is_relative_to(installed.parent)
    data = small_study("smoke", "smollm2-135m-instruct", coder=f"{demo}/coder", contexts_explain=40)
    made = httpx.post(f"{url}/api/v1/studies", json=data.model_dump(mode="json"), timeout=60)
    assert made.status_code == 201, made.text
    deadline = time.monotonic() + COLLECT_SECONDS
    while time.monotonic() < deadline:
        jobs = httpx.get(f"{url}/api/v1/jobs", timeout=60).json()["items"]
        assert all(job["status"] != "failed" for job in jobs), jobs
        explained = [job for job in jobs if job["kind"] == "explain"]
        if explained and all(job["status"] == "finished" for job in explained):
            return
        time.sleep(1)
    raise AssertionError(f"not done in time: {jobs}")


def test_the_doctor_finds_all_in_order(
    up: tuple[subprocess.Popen[str], str], installed: Path, environment: dict[str, str]
) -> None:
    command = [installed / "palimpsest", "doctor"]
    run = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_ends_when_it_is_told_to(up: tuple[subprocess.Popen[str], str]) -> None:
    process, url = up
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not _answers(url)
