"""A worker's duties beside its jobs: it says that it is there, and looks for jobs that wait."""

import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from celery import bootsteps
from celery.signals import worker_process_init, worker_ready
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from jobs import queue
from jobs.kinds import INTERACTIVE
from jobs.queue import ANSWER, celery
from models.database import get_engine
from workers import turns

log = logging.getLogger(__name__)

NICENESS = 10
"""Added to that of a worker that nobody waits for: the system gives the processor to the
interactive worker, the web server and PostgreSQL first, and what they leave to this one."""


class Watch(bootsteps.StartStopStep):
    """Runs in the worker's main process, on Celery's own timer."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.timers: list[Any] = []

    def start(self, worker: Any) -> None:
        """Begin to watch."""
        self.timers = [
            worker.timer.call_repeatedly(queue.BEAT_SECONDS, _beat),
            worker.timer.call_repeatedly(queue.LOOK_SECONDS, _look),
        ]

    def stop(self, worker: Any) -> None:
        """Stop watching."""
        for timer in self.timers:
            timer.cancel()

    terminate = stop


celery.steps["worker"].add(Watch)


@worker_ready.connect
def _ready(**_: object) -> None:
    _beat()
    _look()
    # At this signal Celery kills the process that is at work, and gives its message to the next
    # worker at once: before that it has to be noted that the job is not cut short by a death.
    stop = signal.getsignal(signal.SIGQUIT)

    def let_go_and_stop(number: int, frame: FrameType | None) -> None:
        try:
            turns.let_go()
        except SQLAlchemyError as error:
            log.error("It is not noted that this worker was stopped in order: %s", error)
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGQUIT, let_go_and_stop)


def _beat() -> None:
    try:
        queue.beat(turns.served())
    except RedisError as error:
        log.error("Redis was not told that this worker is there: %s", error)


def _look() -> None:
    """Wake workers for jobs that no message would bring up. An interactive worker prepares itself
    for requests too."""
    queues = turns.served()
    if INTERACTIVE in queues:
        queue.wake(INTERACTIVE, ANSWER)
    try:
        turns.wake_waiting(queues)
    except SQLAlchemyError as error:
        log.error("The jobs that wait could not be looked up: %s", error)


@worker_process_init.connect
def _forked(**_: object) -> None:
    """A process that works makes connections of its own: a fork must not use its parent's."""
    get_engine().dispose(close=False)
    if INTERACTIVE not in turns.served():
        give_way(NICENESS, os.getppid())


def give_way(niceness: int, process: int) -> None:
    """Let the system give the processor to processes that are less nice first.

    Args:
        process: This process or its parent. If it leads a session, that gives way too.
    """
    os.nice(niceness)
    # Linux shares it out among sessions, where that is on, and looks at niceness only within one.
    if os.getsid(0) == process:
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
