"""Bulk work stands still while somebody waits for the interactive worker of the same machine.

Two processes that compute on all cores slow each other by far more than half: every step waits for
its slowest thread, and that thread waits for a core. Niceness does not help with that.

The interactive worker leaves a mark in Redis while it works at what somebody waits for. The bulk
workers of the machine look for it whenever a module of a model begins, which is every few
milliseconds, and between two latents that they score. They pause for two thirds of the time at
most, whatever people do.
"""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from redis.exceptions import RedisError

from jobs.events import get_redis
from jobs.kinds import INTERACTIVE
from workers.turns import served

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""Seconds between two looks for the mark."""
WITHOUT_REDIS = 10.0
"""Seconds until the next look, if Redis did not answer."""
MARK_SECONDS = 10
"""After so long a mark is nobody's: the worker that left it was killed."""
BURST = 45.0
"""Seconds that a worker may pause at once: so long takes the first main point of a layer with its
baselines, or ten edits in a row."""
AGAIN = 2.0
"""Seconds of pause that are earned again before the next one, once all are used up: very short ones
would help nobody."""


@contextmanager
def bulk_work_pauses() -> Iterator[None]:
    """While this lasts, the bulk workers of the machine pause, if this is an interactive worker."""
    if INTERACTIVE not in served():
        yield
        return
    try:
        get_redis().set(_mark(), 1, ex=MARK_SECONDS)
    except RedisError as error:
        log.error("Bulk work was not asked to pause: %s", error)
    try:
        yield
    finally:
        try:
            get_redis().delete(_mark())
        except RedisError as error:
            log.error("Bulk work was not told to go on: %s", error)


class Pauses:
    """The pauses of this process: a second of work earns two of them, up to ``BURST``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0
        self._since = time.monotonic()
        self._earned = BURST
        self._used_up = False
        """True until ``AGAIN`` seconds are earned again."""

    def look(self) -> None:
        """Pause if somebody waits."""
        if time.monotonic() < self._next:
            return
        with self._lock:  # threads of one process pause together
            now = time.monotonic()
            self._earned = min(self._earned + 2 * (now - self._since), BURST)
            self._used_up = self._used_up and self._earned < AGAIN
            wait = LOOK_SECONDS
            try:
                while not self._used_up and get_redis().exists(_mark()):
                    time.sleep(LOOK_SECONDS)
                    self._used_up = time.monotonic() - now > self._earned
            except RedisError:
                wait = WITHOUT_REDIS
            self._since = time.monotonic()
            self._earned -= self._since - now
            self._next = self._since + wait


_pauses: Pauses | None = None
"""Of this process, if it pauses."""


def pause_between_modules() -> None:
    """Have this process pause from now on, before any module of a model, when somebody waits."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    global _pauses
    if _pauses is None:
        _pauses = Pauses()
        register_module_forward_pre_hook(lambda *_: pause())


def pause() -> None:
    """Pause when somebody waits, in work that runs no model. For a process that does."""
    if _pauses is not None:
        _pauses.look()


@cache
def _mark() -> str:
    """The key of this machine's mark. Containers on one machine share it, as they share cores."""
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return f"palimpsest:waited-for:{machine}"
