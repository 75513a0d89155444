"""Adding a simulator."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.simulators.checked import checked
from app.services.simulators.independence import forget
from app.services.simulators.schemas import SimulatorCreate
from interp.errors import InputError
from interp.simulate.registry import prompted
from interp.simulate.training.trained import Trained
from models import Simulator
from models.folders import resolved


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
            forget(found)
            return found
        raise Conflict(
            f"The folder held another simulator when simulator {found.id} was added from it: it "
            "was trained anew. Give the new one a folder of its own."
        )
    return found


def _prompted(data: SimulatorCreate) -> Simulator:
    method = prompted()[data.method]
    options = method.options.model_validate(data, from_attributes=True)
    return Simulator(
        method=method.name,
        model=data.model,
        prompt_version=method.version(options),
        options={**data.options, **options.model_dump(exclude_defaults=True)},
        training={},
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
