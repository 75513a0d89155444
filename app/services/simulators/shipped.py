"""The simulators that are shipped with the program, trained on the demo's latents, used for any."""

from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.simulators.adding import add_simulator
from app.services.simulators.independence import alike
from app.services.simulators.schemas import SimulatorCreate
from models import Simulator
from models.settings import get_settings
from models.shipped import DEMO


class Shipped(NamedTuple):
    """A simulator that is shipped with the program."""

    folder: str
    """Its folder among the demo's simulators."""
    base: str
    """The model that it reads texts and explanations with. `palimpsest fetch` has it."""

    def has_base(self) -> bool:
        """Whether its base is here."""
        return Path(get_settings().model_source(self.base)).exists()


SHIPPED = (
    Shipped("two_tower", "gemma-3-270m"),
    Shipped("two_tower_smollm2", "smollm2-135m-instruct"),
)
"""With bases of two families, so that one of them is independent of any subject."""


def shipped_for(subject: str) -> Shipped:
    """The first whose base is not the subject model, nor of its family by its name."""
    return next(one for one in SHIPPED if not alike(subject, one.base))


def shipped_simulator(session: Session, subject: str) -> Simulator:
    """The shipped simulator for a subject model, added if it is not there yet. Commits the session.

    Raises:
        FieldErrors: Its base is not here.
    """
    one = shipped_for(subject)
    folder = str(DEMO / "simulators" / one.folder)
    return add_simulator(
        session, SimulatorCreate(method="two_tower", model=one.base, folder=folder)
    )
