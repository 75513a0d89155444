"""The command line, as tests run it."""

import subprocess


def assert_fails(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with one line on stderr that has these words."""
    assert run.returncode not in (0, None)
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert run.stderr.startswith("palimpsest: ")
    assert all(word in run.stderr for word in words), run.stderr


def assert_one_line(run: subprocess.CompletedProcess[str], *words: str) -> None:
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("palimpsest: ")
    assert all(word in line for word in words), line
