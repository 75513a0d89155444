"""The independence of a simulator from a study: its training text and its language model."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import collate, func, select, true
from sqlalchemy.orm import Session

from app.services.simulators.compared import Compared, compared
from app.services.simulators.queries import get_simulator, list_simulators
from app.services.simulators.schemas import SimulatorComparison, SimulatorOut, StudySimulatorOut
from interp.corpus.copies import Identity
from interp.corpus.seen import SeenText
from interp.vocabulary import Independence
from models import Context, Simulator, Study


class Assessment(NamedTuple):
    """The independence of a simulator from a study."""

    independence: Independence
    reason: str
    """Why, in a sentence or two."""


class TrainedOn(NamedTuple):
    """What a study must know of a trained simulator's record."""

    base: str
    """The language model under it."""
    seen: int
    """Documents of the calibrate and evaluate sets that it was trained on."""
    example: str
    """One of them; empty without one."""
    doubt: str
    """Why it may have seen others of them; empty where it has not."""


def assess(session: Session, study: Study, simulator: Simulator) -> Assessment:
    """Assess the independence of a simulator from a study.

    Latents that every fold of a trained simulator was trained on spoil no figure: such a simulator
    gives no value for them.
    """
    trained = _trained_on(session, study, simulator)
    if trained and trained.seen:
        return Assessment(
            Independence.CONTAMINATED,
            f"The simulator was trained on text that it is measured on: {_some(trained)} of the "
            "calibrate and evaluate sets. No figure here says how well it does on other text.",
        )
    if trained and trained.doubt:
        return Assessment(
            Independence.UNKNOWN,
            f"The simulator may have been trained on text that it is measured on: {trained.doubt}",
        )
    bases = {_name(simulator.model)} | ({_name(trained.base)} if trained else set())
    unseen = (
        " No text that it is measured on, nor a copy of it, and no latent was in its training."
        if trained
        else ""
    )
    if _name(study.model) in bases:
        return Assessment(
            Independence.SAME_MODEL,
            "The simulator runs on the subject model itself, so the two may err alike." + unseen,
        )
    if any(alike(study.model, base) for base in bases):
        return Assessment(
            Independence.SAME_FAMILY,
            f"By its name, the simulator runs on a model of the subject's family "
            f"({_family(study.model)}), so the two may err alike.{unseen}",
        )
    return Assessment(
        Independence.INDEPENDENT, "The simulator runs on another model than the subject." + unseen
    )


_TRAINED_ON: dict[tuple[int, int], TrainedOn | None] = {}
"""By study and simulator. A record never changes, nor do the contexts of a collected study; records
name thousands of latents, and every page asks."""


def forget(simulator: Simulator) -> None:
    """Read the record of a simulator anew the next time: it has been told what it did not say."""
    for key in [key for key in _TRAINED_ON if key[1] == simulator.id]:
        del _TRAINED_ON[key]


def _trained_on(session: Session, study: Study, simulator: Simulator) -> TrainedOn | None:
    """What matters of a trained simulator's record; None for a prompted one."""
    key = study.id, simulator.id
    if key in _TRAINED_ON:
        return _TRAINED_ON[key]
    record = Simulator.training
    base, corpus, seen = session.execute(
        select(record["base"].astext, record["corpus"].astext, record["seen"]).where(
            Simulator.id == simulator.id
        )
    ).one_or_none() or (None, None, None)
    found = None
    if base is not None and corpus is not None:
        found = _compared(session, study, simulator, base, corpus, seen)
    if "kind" in study.coder_info:
        _TRAINED_ON[key] = found
    return found


def _compared(
    session: Session, study: Study, simulator: Simulator, base: str, corpus: str, seen: Any
) -> TrainedOn:
    """Compare a record with the study's text: by content, or by name where content is not known.

    Equal names in one corpus prove that a document was seen; other names prove nothing.
    """
    rows = session.execute(
        select(Context.document, Context.document_hash, Context.document_sketch)
        .where(Context.study_id == study.id, Context.set.in_(("calibrate", "evaluate")))
        .distinct()
    ).all()
    measured = {
        name: Identity(hashed, sketch)
        for name, hashed, sketch in rows
        if hashed is not None and sketch is not None
    }
    if seen is not None and len(measured) == len(rows):
        names = SeenText.model_validate(seen).among(measured)
        return TrainedOn(base, len(names), names[0] if names else "", "")
    count, first = _same_names(session, study, simulator) if corpus == study.corpus else (0, "")
    doubt = (
        "its record does not tell documents apart by their text. Train it again to know."
        if seen is None
        else "the study was collected before documents were told apart by their text. Collect it "
        "again to know."
    )
    return TrainedOn(base, count, first, doubt)


def _same_names(session: Session, study: Study, simulator: Simulator) -> tuple[int, str]:
    """How many documents of the calibrate and evaluate sets are in the record by name, and the
    first of them."""
    measured = select(Context.document).where(
        Context.study_id == study.id, Context.set.in_(("calibrate", "evaluate"))
    )
    each = func.jsonb_array_elements_text(Simulator.training["documents"])
    name = each.table_valued("value").lateral().c.value
    query = (
        select(func.count(name.distinct()), func.min(collate(name, "C")))
        .select_from(Simulator)
        .join(name.table, true())
        .where(Simulator.id == simulator.id, name.in_(measured))
    )
    count, first = session.execute(query).one()
    return count, first or ""


def _some(trained: TrainedOn) -> str:
    if trained.seen == 1:
        return f"the document “{trained.example}”"
    return f"{trained.seen:,} documents, such as “{trained.example}”,"


def _name(model: str) -> str:
    """A model's name without its folder or hub account."""
    return Path(model).name.casefold().removesuffix(".gguf")


def alike(model: str, other: str) -> bool:
    """Whether two models are one, or of one family by their names."""
    return _family(model) == _family(other)


def _family(model: str) -> str:
    """The name of a model's family: what stands before its version and size."""
    name = _name(model)
    return re.split(r"[\d_.-]", name, maxsplit=1)[0] or name


class StudySimulator(NamedTuple):
    """A simulator as a study sees it."""

    simulator: Simulator
    assessment: Assessment
    compared: Compared | None = None
    """With the one in use; None for that one, and where no latent has both."""


def study_simulator(session: Session, study: Study) -> StudySimulator | None:
    """The simulator whose figures the pages of a study show; None before it has one."""
    if study.simulator_id is None:
        return None
    simulator = get_simulator(session, study.simulator_id)
    return StudySimulator(simulator, assess(session, study, simulator))


def independence_of(
    session: Session, study: Study, simulator_id: int | None
) -> Independence | None:
    """The independence of a simulator; None without a simulator."""
    if simulator_id is None:
        return None
    return assess(session, study, get_simulator(session, simulator_id)).independence


def study_simulators(session: Session, study: Study) -> list[StudySimulator]:
    """All simulators as a study sees them, newest first."""
    beside = compared(session, study)
    return [
        StudySimulator(one, assess(session, study, one), beside.get(one.id))
        for one in list_simulators(session)
    ]


def as_seen(study: Study, one: StudySimulator) -> StudySimulatorOut:
    """A simulator as a study sees it, as JSON."""
    return StudySimulatorOut(
        **SimulatorOut.model_validate(one.simulator).model_dump(),
        independence=one.assessment.independence,
        reason=one.assessment.reason,
        used=one.simulator.id == study.simulator_id,
        compared=one.compared and SimulatorComparison.model_validate(one.compared),
    )
