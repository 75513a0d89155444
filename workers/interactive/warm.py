"""Load what the next request will need, while nobody waits. Imports torch."""

import logging
import time
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import ContextSet, ExampleKind
from jobs import requests
from jobs.kinds import WAITED_FOR
from models import Job, Simulator, Study
from models.database import new_session
from workers.interactive.preview import asked_of
from workers.interactive.texts import calibrate_set, collection, shown_examples
from workers.resources import simulator_of
from workers.tasks.rewrite import measurement
from workers.tasks.rows import context_strings
from workers.tasks.simulate.loss_effects import contexts_to_simulate, prepare

log = logging.getLogger(__name__)

_warm: set[tuple[int, int, int | None]] = set()
"""Studies that are prepared, each with its simulator and the first context of its calibrate set."""
TOGETHER = 4
"""Contexts of a latent that are read at once. Nobody waits for longer than that takes."""
PAUSE = 0.5
"""Seconds without a key after which a latent is prepared."""


_ready: tuple[int, int, int | None] | None = None
"""The latent that was prepared last, with its simulator and its calibrate set's first context."""


def warm(asked: Collection[tuple[int, int]] = ()) -> None:
    """Have what the next request needs in memory.

    Args:
        asked: Study and index of the latents that somebody has just asked about: their texts may be
            saved next.
    """
    _warm_study()
    for study_id, index in asked:
        _warm_latent(study_id, index)


def _warm_study() -> None:
    """Load the simulator of the study that people last worked on, and have it read the text. Load
    the layer, too.

    An edit needs the calibrate set and the part of the evaluate set on which the layer is
    rewritten. A problem is left for the request that meets it.
    """
    with new_session(reads=True) as session:
        study = _latest(session)
        if study is None or study.simulator_id is None:
            return
        row = session.get_one(Simulator, study.simulator_id)
        key = (study.id, row.id, collection(session, study))
        collected = "tokens" in study.coder_info
        if key in _warm or not collected or not SIMULATORS.named(row.method).instant:
            return
        try:
            _, evaluate = context_strings(session, study, ContextSet.EVALUATE)
            texts = calibrate_set(study.id, key[2]).strings + evaluate[: study.contexts_rewrite]
            nothing, first = Ask("."), study.first_position
            list(simulator_of(row, study).simulate([nothing], texts, first_position=first))
            measurement.load(session, study)
        except (InputError, OSError) as error:
            log.warning("study %s is not prepared: %s", study.slug, error)
        _warm.add(key)


def _warm_latent(study_id: int, index: int) -> None:
    """Have the simulator read what an explanation of a latent is simulated on when it is saved, and
    measure what its loss effect is compared with.

    It begins when nobody has asked for anything for a moment, and goes a little at a time, until
    somebody does.
    """
    global _ready
    with new_session(reads=True) as session:
        began = time.monotonic()
        while time.monotonic() - began < PAUSE:
            if _somebody_waits(session):
                return
            time.sleep(PAUSE / 20)
        study = session.get(Study, study_id)
        if study is None:
            return
        try:
            row, latent = asked_of(session, study, index)
            key = (latent.id, row.id, collection(session, study))
            if key == _ready or not SIMULATORS.named(row.method).instant:
                return
            simulator = simulator_of(row, study)
            _, evaluate = context_strings(session, study, ContextSet.EVALUATE)
            examples = shown_examples(latent.id, tuple(ExampleKind)).strings
            texts = [*examples, *(evaluate[i] for i in contexts_to_simulate(study, latent))]
        except (InputError, OSError) as error:
            log.warning("latent %d of %s is not prepared: %s", index, study.slug, error)
            return
        for start in range(0, len(texts), TOGETHER):
            if _somebody_waits(session):
                return
            some = texts[start : start + TOGETHER]
            list(simulator.simulate([Ask(".")], some, first_position=study.first_position))
        if prepare(session, study, latent, lambda: _somebody_waits(session)):
            _ready = key


def _somebody_waits(session: Session) -> bool:
    """True if there is a request, or a job that goes before all others."""
    waits = select(Job.id).where(Job.status == "queued", Job.priority >= WAITED_FOR).limit(1)
    return requests.waiting() or session.scalar(waits) is not None


def _latest(session: Session) -> Study | None:
    newest = select(Job.study_id).group_by(Job.study_id).order_by(func.max(Job.id).desc()).limit(1)
    there = Study.deleted_at.is_(None)
    return session.scalar(select(Study).where(Study.id == newest.scalar_subquery(), there))
