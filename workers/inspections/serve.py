"""Take up inspections, one at a time, beside the jobs of this worker.

Each runs in a process of its own (``workers/inspections/process.py``). So it can be ended at any
time, and the memory that it takes is free afterwards. A thread of the worker's main process watches
it.
"""

import logging
import subprocess
import sys
import time
from contextlib import suppress
from threading import Thread

from celery.signals import worker_ready
from pydantic import ValidationError
from redis.exceptions import RedisError

from jobs import inspections
from jobs.inspections import QUEUE, Inspection
from jobs.status import Status
from workers.turns import served

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Seconds between two looks whether somebody still wants an inspection."""
AGAIN_SECONDS = 5.0
"""Seconds after which Redis is asked again if it could not be reached."""
MOST_SECONDS = 900.0
"""An inspection may take so long. Others wait meanwhile."""
BROKE_OFF = (
    "The inspection broke off. Most often memory runs out, and the system ends it. Close what "
    "else uses memory, or choose a smaller model. The worker's log may say more."
)
TOO_LONG = (
    f"The inspection was ended after {MOST_SECONDS / 60:.0f} minutes, as others may wait. What it "
    "has fetched from the hub stays, so a second one goes on from there."
)


@worker_ready.connect
def begin(**_: object) -> None:
    """Take up inspections from now on, if this worker is one that collects."""
    if QUEUE in served():
        Thread(target=_serve, name="inspections", daemon=True).start()


def _serve() -> None:
    while True:
        try:
            inspection = inspections.take()
            if inspection is not None:
                run(inspection)
        except ValidationError as error:  # of another version
            log.error("An inspection was dropped: %s", error)
        except (RedisError, OSError) as error:
            log.error("An inspection could not be taken up: %s", error)
            time.sleep(AGAIN_SECONDS)


def run(inspection: Inspection) -> None:
    """Inspect a coder, until it is done or nobody wants it any more."""
    inspection = inspection.model_copy(update={"status": Status.RUNNING, "step": "Starting"})
    inspections.save(inspection)
    command = [sys.executable, "-m", "workers.inspections.process"]
    # A session of its own, as Linux may share the processor out among these.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdin is not None
    until = time.monotonic() + MOST_SECONDS
    try:
        with suppress(BrokenPipeError):  # it has ended, which is seen below
            # The pipe stays open: at its end the process knows that this worker is no more.
            print(inspection.model_dump_json(), file=child.stdin, flush=True)
        while child.poll() is None:
            if not inspections.keep(inspection.id):
                return
            if time.monotonic() > until:
                _fail(inspection, TOO_LONG)
                return
            with suppress(subprocess.TimeoutExpired):
                child.wait(LOOK_SECONDS)
        if child.returncode:
            _fail(inspection, BROKE_OFF)
    finally:
        child.kill()
        child.wait()
        with suppress(BrokenPipeError):
            child.stdin.close()


def _fail(inspection: Inspection, problem: str) -> None:
    now = inspections.look(inspection.id)
    if now is not None:
        failed = {"status": Status.FAILED, "step": "", "problem": problem}
        inspections.save(now.model_copy(update=failed))
