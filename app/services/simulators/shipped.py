"""The simulator that is shipped with the program: trained on the demo's latents, used for any."""

from pathlib import Path

from sqlalchemy.orm import Session

from app.services.simulators.adding import add_simulator
from app.services.simulators.schemas import SimulatorCreate
from models import Simulator
from models.settings import get_settings
from models.shipped import DEMO

BASE = "gemma-3-270m"
"""The model that it reads texts and explanations with. `palimpsest fetch` has it."""


def shipped_simulator(session: Session) -> Simulator:
    """The shipped simulator, added if it is not there yet. Commits the session.

    Raises:
        FieldErrors: Its base is not here.
    """
    folder = str(DEMO / "simulators" / "two_tower")
    return add_simulator(session, SimulatorCreate(method="two_tower", model=BASE, folder=folder))


def has_base() -> bool:
    """Whether the base of the shipped simulator is here."""
    return Path(get_settings().model_source(BASE)).exists()
