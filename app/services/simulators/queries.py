"""Simulators in the database, and what their figures are worth for a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    any_,
    bindparam,
    cast,
    collate,
    func,
    select,
    true,
)
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.simulators.checked import checked
from app.services.simulators.schemas import (
    SimulatorCreate,
    SimulatorOut,
    StudySimulatorOut,
    Verdict,
)
from interp.corpus.copies import Identity
from interp.corpus.seen import SeenText
from interp.errors import InputError
from interp.simulate.prompted import all_at_once, json_reply, last_token
from interp.simulate.training.trained import Trained
from models import Context, Simulation, Simulator, Study
from models.folders import resolved

VERSIONS = {
    "all_at_once": all_at_once.VERSION,
    "last_token": last_token.VERSION,
    "json_reply": json_reply.VERSION,
}
"""The prompt of each prompted method."""


class Cleanliness(NamedTuple):
    """The independence of a simulator."""

    verdict: Verdict
    reason: str
    """Why, in a sentence or two."""


class TrainedOn(NamedTuple):
    """The facts of a trained simulator's record that a study needs."""

    base: str
    """The language model under it."""
    seen: int
    """Documents of the calibrate and evaluate sets that it was trained on."""
    example: str
    """One of them; empty without one."""
    doubt: str
    """Why it may have seen others of them; empty where it has not."""


class Missing(NamedTuple):
    """Simulated values that are missing."""

    missing: int
    values: int
    """Of how many; beginning-of-sequence tokens do not count."""
    reasons: dict[str, int]
    """Why, with how many for each reason; the most frequent first."""

    @property
    def share(self) -> float | None:
        """None where nothing is simulated."""
        return self.missing / self.values if self.values else None


def list_simulators(session: Session) -> list[Simulator]:
    """All simulators, newest first."""
    query = select(Simulator).where(Simulator.deleted_at.is_(None))
    return list(session.scalars(query.order_by(Simulator.id.desc())))


def get_simulator(session: Session, simulator_id: int) -> Simulator:
    """One simulator.

    Raises:
        NotFound: There is none of this number.
    """
    simulator = session.get(Simulator, simulator_id)
    if simulator is None or simulator.deleted_at is not None:
        raise NotFound(f"There is no simulator {simulator_id}. The simulators' page lists all.")
    return simulator


def add_simulator(session: Session, data: SimulatorCreate) -> Simulator:
    """Insert a simulator, or find the same one. Commits the session.

    Raises:
        FieldErrors: There is no such language model.
        InputError: There is no trained simulator in the folder, or one of another method.
        Conflict: The one in the folder was trained anew since it was added.
    """
    data = checked(data)
    made = _trained(data) if data.trained else _prompted(data)
    same = ("method", "model", "prompt_version", "options")
    # Two requests at once would both find none; the second waits here for the first.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("simulator"))))
    found = session.scalar(select(Simulator).filter_by(**{n: getattr(made, n) for n in same}))
    if found is None:
        session.add(made)
        session.commit()
        return made
    session.commit()
    if {"seen": None} | found.training != {"seen": None} | made.training:
        if found.training.get("seen") is None and (
            found.training | {"seen": None} == made.training | {"seen": None}
        ):
            # The record has been told what it did not say of the same training.
            found.training = made.training
            session.commit()
            for key in [key for key in _TRAINED_ON if key[1] == found.id]:
                del _TRAINED_ON[key]
            return found
        raise Conflict(
            f"The folder held another simulator when simulator {found.id} was added from it: it "
            "was trained anew. Give the new one a folder of its own."
        )
    return found


def _prompted(data: SimulatorCreate) -> Simulator:
    options: dict[str, object] = {**data.options}
    if data.show_score:
        options["show_score"] = True
    if data.calibrate_contexts is not None:
        options["calibrate_contexts"] = data.calibrate_contexts
    version = all_at_once.SCORE_VERSION if data.show_score else VERSIONS[data.method]
    return Simulator(
        method=data.method, model=data.model, prompt_version=version, options=options, training={}
    )


def _trained(data: SimulatorCreate) -> Simulator:
    try:
        folder = resolved(data.folder or "")
    except ValueError as error:
        raise InputError(str(error)) from None
    record = Trained.read(folder)
    if record.method != data.method:
        raise InputError(f"The simulator in {folder} is {record.method}, not {data.method}.")
    return Simulator(
        method=record.method,
        model=data.model,
        prompt_version=record.version,
        options={"folder": str(folder)},
        training=record.model_dump(mode="json"),
    )


def cleanliness(session: Session, study: Study, simulator: Simulator) -> Cleanliness:
    """The independence of a simulator from a study.

    Latents that every fold of a trained simulator was trained on spoil no figure: such a simulator
    gives no value for them.
    """
    trained = _trained_on(session, study, simulator)
    if trained and trained.seen:
        return Cleanliness(
            "contaminated",
            f"The simulator was trained on text that it is measured on: {_some(trained)} of the "
            "calibrate and evaluate sets. No figure here says how well it does on other text.",
        )
    if trained and trained.doubt:
        return Cleanliness(
            "unknown",
            f"The simulator may have been trained on text that it is measured on: {trained.doubt}",
        )
    bases = {_name(simulator.model)} | ({_name(trained.base)} if trained else set())
    unseen = (
        " No text that it is measured on, nor a copy of it, and no latent was in its training."
        if trained
        else ""
    )
    if _name(study.model) in bases:
        return Cleanliness(
            "same model",
            "The simulator runs on the subject model itself, so the two may err alike." + unseen,
        )
    return Cleanliness(
        "independent", "The simulator runs on another model than the subject." + unseen
    )


_TRAINED_ON: dict[tuple[int, int], TrainedOn | None] = {}
"""By study and simulator. A record never changes, nor do the contexts of a collected study; records
name thousands of latents, and every page asks."""


def _trained_on(session: Session, study: Study, simulator: Simulator) -> TrainedOn | None:
    """The facts of a trained simulator's record that a study needs; None for a prompted one."""
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
    if study.coder_info:
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
    """The number of documents of the calibrate and evaluate sets that the record names, and the
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


class StudySimulator(NamedTuple):
    """A simulator as a study sees it."""

    simulator: Simulator
    cleanliness: Cleanliness


def study_simulator(session: Session, study: Study) -> StudySimulator | None:
    """The simulator whose figures the pages of a study show; None before it has one."""
    if study.simulator_id is None:
        return None
    simulator = get_simulator(session, study.simulator_id)
    return StudySimulator(simulator, cleanliness(session, study, simulator))


def verdict(session: Session, study: Study, simulator_id: int | None) -> Verdict | None:
    """The independence of a simulator, in a word; None without a simulator."""
    if simulator_id is None:
        return None
    return cleanliness(session, study, get_simulator(session, simulator_id)).verdict


def study_simulators(session: Session, study: Study) -> list[StudySimulator]:
    """All simulators as a study sees them, newest first."""
    return [
        StudySimulator(simulator, cleanliness(session, study, simulator))
        for simulator in list_simulators(session)
    ]


def as_seen(study: Study, one: StudySimulator) -> StudySimulatorOut:
    """A simulator as a study sees it, as JSON."""
    return StudySimulatorOut(
        **SimulatorOut.model_validate(one.simulator).model_dump(),
        cleanliness=one.cleanliness.verdict,
        reason=one.cleanliness.reason,
        used=one.simulator.id == study.simulator_id,
    )


# As an array: a job may be about thousands of explanations.
_SIMULATIONS = (
    Simulation.explanation_id == any_(bindparam("explanations", type_=ARRAY(BigInteger))),
    Simulation.simulator_id == bindparam("simulator"),
)
_MISSING = select(
    func.coalesce(func.sum(Simulation.missing), 0),
    func.coalesce(func.sum(func.cardinality(Simulation.context_ids)), 0),
).where(*_SIMULATIONS)


def missing_values(
    session: Session, study: Study, explanation_ids: Sequence[int], simulator_id: int | None
) -> Missing:
    """The missing values in a simulator's simulations of some explanations."""
    values = {"explanations": list(explanation_ids), "simulator": simulator_id}
    missing, contexts = session.execute(_MISSING, values).one()
    reasons = _reasons(session, values) if missing else {}
    return Missing(missing, contexts * simulated_tokens(study), reasons)


def _reasons(session: Session, values: dict[str, Any]) -> dict[str, int]:
    each = func.jsonb_each_text(Simulation.failures).table_valued("key", "value").lateral()
    count = func.sum(cast(each.c.value, Integer))
    query = (
        select(each.c.key, count)
        .select_from(Simulation)
        .join(each, true())
        .where(*_SIMULATIONS)
        .group_by(each.c.key)
        .order_by(count.desc(), each.c.key)
    )
    return {reason: int(number) for reason, number in session.execute(query, values)}


def simulated_tokens(study: Study) -> int:
    """Tokens of a context that are simulated: all but the one that begins the sequence."""
    return study.context_length - (1 if study.prepend_bos else 0)
