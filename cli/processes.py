"""Child processes: each with a log, all stopped together, none left behind.

Every child leads a session of its own, so that Ctrl-C in the terminal reaches only the command,
which then stops the children in order.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cli.errors import CommandError

STOP_SECONDS = 10.0
"""Seconds for a child to end in order, before it is killed."""
PAUSES = (1.0, 5.0, 20.0)
"""Seconds before a child that ended by itself starts again: the first time in a row, the second
and the third. The next time it is given up."""
STEADY_SECONDS = 600.0
"""After so long the endings before are forgotten."""
LOG_BYTES = 20_000_000
"""A log that has grown longer becomes the old one."""


class Child(NamedTuple):
    """A running child process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    """The signal that asks it to end soon but in order."""


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
    rotate(log)
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
    """Stop the children one after the other, the last one first. Kill those that do not end."""
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
        if reason := ending(child):
            raise CommandError(reason)


def ending(child: Child) -> str:
    """The end of a child, its cause, and the path of its log. Empty while it runs."""
    code = child.process.poll()
    if code is None:
        return ""
    how = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
    return f"The {child.name} process {how}: {last_line(child.log)} (log: {child.log})"


class Kept:
    """A child that starts again when it ends by itself, a few times in a row."""

    def __init__(
        self,
        start: Callable[[], Child],
        say: Callable[[str], None],
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Start the child.

        Args:
            say: Is told why the child ended and when it starts again.
        """
        self.child = start()
        self._start, self._say, self._pauses = start, say, pauses
        self._began = time.monotonic()
        self._endings = 0
        self._start_at: float | None = None

    def check(self) -> None:
        """Start the child again if it is time. Call it about every second. It does not wait.

        Raises:
            CommandError: The child ended more often in a row than there are pauses.
        """
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.child, self._began, self._start_at = self._start(), now, None
            return
        reason = ending(self.child)
        if not reason:
            return
        if now - self._began > STEADY_SECONDS:
            self._endings = 0
        if self._endings == len(self._pauses):
            raise CommandError(f"{reason} It ended {self._endings + 1} times in a row.")
        stop([self.child])  # what is left of its group, such as the pool of a killed worker
        pause = self._pauses[self._endings]
        self._endings += 1
        self._start_at = now + pause
        self._say(f"{reason} It starts again in {pause:.0f} s.")


def rotate(log: Path) -> None:
    """Keep a long log as the one old file beside it, and empty it.

    A process that writes to it appends, and so goes on at its beginning. On a full disk nothing is
    kept: emptying the log makes room.
    """
    if not log.exists() or log.stat().st_size <= LOG_BYTES:
        return
    old = log.with_suffix(".old.log")
    try:
        shutil.copyfile(log, old)
    except OSError:
        with suppress(OSError):
            old.unlink(missing_ok=True)  # it is cut short, and takes up the room that is wanted
    with suppress(OSError):
        os.truncate(log, 0)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    if not log.exists():
        return "it wrote no log"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "its log is empty")


def _note(folder: Path, child: Child) -> None:
    """Write down a child, so that the next start finds it if this process is killed outright.

    A full disk does not keep the child from running: then it is not written down.
    """
    file = folder / "processes.json"
    noted = _noted(file)
    try:
        created = psutil.Process(child.process.pid).create_time()
    except psutil.NoSuchProcess:
        return
    noted.append({"pid": child.process.pid, "created": created, "signal": int(child.stop_signal)})
    partial = file.with_suffix(".partial")
    with suppress(OSError):
        partial.write_text(json.dumps(noted))
        partial.replace(file)


def _noted(file: Path) -> list[dict[str, Any]]:
    """The children that are written down."""
    try:
        noted: list[dict[str, Any]] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):  # a full disk can cut the file short
        return []
    return noted


def stop_orphans(folder: Path) -> None:
    """Stop what a killed command left running in this data folder. Call it with the lock held."""
    file = folder / "processes.json"
    for entry in reversed(_noted(file)):
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
