"""The parts of ``palimpsest up`` that need no server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import processes
from cli.errors import CommandError
from tests.commands import assert_one_line
from tests.conftest import palimpsest


def test_a_child_that_ends_again_and_again_is_given_up(tmp_path: Path) -> None:
    said: list[str] = []
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    kept = processes.Kept(lambda: processes.start("sick", command, tmp_path), said.append, (0, 0))
    with pytest.raises(CommandError, match=r"ended with code 3: no room .* 3 times in a row"):
        while True:
            kept.check()
            time.sleep(0.05)
    assert len(said) == 2 and all("no room" in line for line in said)


def test_a_long_log_becomes_the_old_one(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab") as file:
        file.write(b"x" * (processes.LOG_BYTES + 1))
        file.flush()
        processes.rotate(log)
        file.write(b"new")
    assert log.read_bytes() == b"new"
    old = tmp_path / "web.old.log"
    assert old.stat().st_size == processes.LOG_BYTES + 1
    processes.rotate(log)
    assert log.read_bytes() == b"new"


def test_a_log_that_cannot_be_kept_is_emptied(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * (processes.LOG_BYTES + 1))
    log.with_suffix(".old.log").mkdir()  # nothing can be written there, as on a full disk
    processes.rotate(log)
    assert log.read_bytes() == b""


def test_one_server_of_two() -> None:
    run = palimpsest("up", DATABASE_URL="postgresql://localhost/palimpsest")
    assert_one_line(run, "DATABASE_URL is set but REDIS_URL is not", "Set both")
    run = palimpsest("up", REDIS_URL="redis://localhost:6379/0")
    assert_one_line(run, "REDIS_URL is set but DATABASE_URL is not", "Set both")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(tmp_path / "file"))
    assert_one_line(run, "cannot be written", "PALIMPSEST_HOME")
    run = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(tmp_path / "file" / "below"))
    assert_one_line(run, "cannot be written", "PALIMPSEST_HOME")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    run = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(tmp_path))
    assert_one_line(run, "cannot be written", "PALIMPSEST_HOME")


def test_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "palimpsest", tmp_path]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        run = palimpsest("up", "--no-demo", PALIMPSEST_HOME=str(tmp_path))
        assert_one_line(run, "full", "MB free")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
