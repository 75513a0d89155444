"""What the study's simulator makes of one explanation, context by context."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.latents.examples import get_simulation, isotonic_knots
from models import Explanation, Study

State = Literal["bos", "none", "missing", "simulated"]


class Value(NamedTuple):
    """A simulated value of one token."""

    state: State
    """``bos``: the token that begins a sequence is never simulated; ``none``: not simulated yet."""
    raw: float | None = None
    """0 to 9."""
    calibrated: float | None = None
    """The raw value as an activation, by isotonic calibration."""


class Lane:
    """Simulated values of one explanation on the contexts of one set."""

    def __init__(
        self,
        first_position: int,
        rows: dict[int, NDArray[np.float32]],
        knots: tuple[list[float], list[float]] | None,
    ) -> None:
        self._first = first_position
        self._rows = rows
        self._knots = knots

    def __bool__(self) -> bool:
        """Whether it is simulated at all."""
        return bool(self._rows)

    def values(self, context_id: int, length: int) -> list[Value]:
        """The values on a context of so many tokens."""
        row = self._rows.get(context_id)
        return [
            Value("bos") if position < self._first else self._value(row, position)
            for position in range(length)
        ]

    def _value(self, row: NDArray[np.float32] | None, position: int) -> Value:
        if row is None:
            return Value("none")
        if np.isnan(row[position]):
            return Value("missing")
        raw = float(row[position])
        return Value("simulated", raw, float(np.interp(raw, *self._knots)) if self._knots else None)


def lane_of(session: Session, study: Study, explanation: Explanation, set_name: str) -> Lane:
    """The lane of an explanation under the study's simulator; empty if it is not simulated."""
    simulation = get_simulation(session, study, explanation, set_name)
    rows = (
        dict(zip(simulation.context_ids, simulation.values, strict=True))
        if simulation is not None
        else {}
    )
    knots = isotonic_knots(session, study, explanation) if rows else None
    return Lane(1 if study.prepend_bos else 0, rows, knots)
