"""The process of one inspection. Its worker starts it, and writes the inspection to its input."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

from interp.errors import InputError
from jobs import inspections
from jobs.inspections import Inspection
from jobs.status import Status
from models.settings import get_settings
from workers.named import may_inspect
from workers.reasons import in_words
from workers.watch import NICENESS, give_way

log = logging.getLogger(__name__)


class State:
    """The state of the inspection, which is written at each change."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection

    def change(self, **values: Any) -> None:
        """Write some values."""
        self.inspection = self.inspection.model_copy(update=values)
        inspections.save(self.inspection)

    def tell(self, step: str, done: int = 0, total: int | None = None) -> None:
        """Write how far it is."""
        self.change(step=step, done=done, total=total)


def inspect(inspection: Inspection) -> None:
    """Inspect a coder, and write what is found, or why nothing is."""
    state = State(inspection)
    question = inspection.question
    try:
        may_inspect(question)
        # To import torch takes seconds.
        from interp.coders.inspector import measure_sites, read_files

        state.tell("Reading the files")
        settings = get_settings()
        source = settings.model_source(question.model)
        read = read_files(question)
        state.change(files=read.files)
        loadable = question.model_copy(update={"model": source})
        measured = measure_sites(loadable, read, state.tell, device_map=settings.device_map)
        state.change(status=Status.FINISHED, step="", measured=measured)
    except Exception as error:
        reference = uuid4().hex[:8]
        if not isinstance(error, InputError):
            log.exception("inspection %s failed, reference %s", inspection.id, reference)
        state.change(status=Status.FAILED, step="", problem=in_words(error, reference))


def _end_with_the_worker() -> None:
    sys.stdin.read()
    os._exit(1)


def _give_way() -> None:
    """Go behind what people wait for while they edit, and before what nobody waits for. If memory
    runs out, be what the system ends."""
    give_way(NICENESS // 2, os.getpid())
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    _give_way()
    asked = Inspection.model_validate_json(sys.stdin.readline())
    Thread(target=_end_with_the_worker, daemon=True).start()
    inspect(asked)
    sys.stdout.flush()
    os._exit(0)  # the thread still waits for its input
