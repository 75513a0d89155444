"""Load what the next request will need, while nobody waits. Imports torch."""

import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import ContextSet
from models import Job, Simulator, Study
from models.database import new_session
from workers.interactive.texts import calibrate_set, collection
from workers.resources import simulator_of
from workers.tasks.rows import context_strings

log = logging.getLogger(__name__)

_warm: set[tuple[int, int, int | None]] = set()
"""Studies that are prepared, each with its simulator and the first context of its calibrate set."""


def warm() -> None:
    """Load the simulator of the study that people last worked on, and have it read the text.

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
        except (InputError, OSError) as error:
            log.warning("study %s is not prepared: %s", study.slug, error)
        _warm.add(key)


def _latest(session: Session) -> Study | None:
    newest = select(Job.study_id).group_by(Job.study_id).order_by(func.max(Job.id).desc()).limit(1)
    there = Study.deleted_at.is_(None)
    return session.scalar(select(Study).where(Study.id == newest.scalar_subquery(), there))
