"""Child processes: each with a log, all stopped together, none left behind.

Every child leads a session of its own, so that Ctrl-C in the terminal reaches only the command,
which then stops the children in order.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cli.errors import CommandError

STOP_SECONDS = 10.0
"""How long a child may take to end in order, before it is killed."""


class Child(NamedTuple):
    """A running child process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    """What asks it to end soon but in order."""


def start(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    stdin: bytes | None = None,
    **options: Any,
) -> Child:
    """Start a child that writes to ``log/<name>.log`` in the data folder, and note it there.

    Args:
        options: Passed on to :class:`subprocess.Popen`.
    """
    log = folder / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    if process.stdin is not None:
        process.stdin.write(stdin or b"")
        process.stdin.close()
    child = Child(name, process, log, stop_signal)
    _note(folder, child)
    return child


def stop(children: Iterable[Child]) -> None:
    """Stop the children one after the other, the last one first; kill those that do not end."""
    for child in reversed(list(children)):
        if child.process.poll() is None:
            child.process.send_signal(child.stop_signal)
        try:
            child.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        # What is left of its group goes too: a pool of workers outlives a killed parent.
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.process.wait()


def check(children: Iterable[Child]) -> None:
    """Raise a CommandError that says which child has ended, why, and where its log is."""
    for child in children:
        code = child.process.poll()
        if code is not None:
            ending = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
            raise CommandError(
                f"The {child.name} process {ending}: {last_line(child.log)} (log: {child.log})"
            )


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    if not log.exists():
        return "it wrote no log"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "its log is empty")


def _note(folder: Path, child: Child) -> None:
    """Write down a child, so that the next start finds it if this process is killed outright."""
    file = folder / "processes.json"
    noted = json.loads(file.read_text()) if file.exists() else []
    try:
        created = psutil.Process(child.process.pid).create_time()
    except psutil.NoSuchProcess:
        return
    noted.append({"pid": child.process.pid, "created": created, "signal": int(child.stop_signal)})
    file.write_text(json.dumps(noted))


def stop_orphans(folder: Path) -> None:
    """Stop what a killed command left running in this data folder. Call it with the lock held."""
    file = folder / "processes.json"
    try:
        noted = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):  # a full disk can cut the file short
        noted = []
    for entry in reversed(noted):
        try:
            process = psutil.Process(entry["pid"])
            if process.create_time() != entry["created"]:
                continue  # another process has its number by now
            family = [process, *process.children(recursive=True)]
            process.send_signal(entry["signal"])
        except psutil.NoSuchProcess:
            continue
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for member in alive:
            member.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
    file.unlink(missing_ok=True)
