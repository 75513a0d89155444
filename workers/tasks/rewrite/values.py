"""The simulated values of a rewrite's explanations, as splices want them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased
from torch import Tensor

from interp.rewriting import splice
from interp.rewriting.splice import Splice, Values
from interp.scoring.calibrate import CalibrationMap
from interp.vocabulary import CalibrationMethod, Condition, ContextSet
from models import Explanation, Latent, Simulation
from models.base import among
from workers.tasks.rows import calibrations_of, values_on

QUANTILES = 11
"""A latent's activations are stored at eleven ranks, from the smallest to the largest."""
LOADED = 256
"""Explanations loaded at once."""


class _Explained(NamedTuple):
    """One explanation's place among the values, and the rows that they came from."""

    column: int
    simulations: tuple[int, int | None]
    """On the evaluate set, and on the calibrate set."""
    latent: int
    quantiles: list[float]
    maps: dict[str, CalibrationMap]


class SimulatedValues:
    """Raw values of explanations on some contexts of the evaluate set, at the spliced positions.

    They can be kept from one rewrite to the next: only explanations that are new are read.
    """

    def __init__(self, simulator_id: int, context_ids: Sequence[int], where: slice) -> None:
        self.simulator_id, self.context_ids, self.where = simulator_id, list(context_ids), where
        self._here: dict[int, _Explained] = {}
        self._raw = np.empty((len(context_ids), where.stop - where.start, 0), np.float32)
        self._isotonic = self._raw.copy()
        """The calibrated values that the main point needs."""

    def load(self, session: Session, explanation_ids: Sequence[int]) -> None:
        """Hold the values of these explanations, and forget others if there is no room for them."""
        simulations = self._simulations(session, explanation_ids)
        for number in [i for i, one in self._here.items() if simulations.get(i) != one.simulations]:
            if number in simulations or self._crowded(simulations):
                del self._here[number]
        lacking = [i for i in simulations if i not in self._here]
        columns = self._free_columns(len(lacking))
        for start in range(0, len(lacking), LOADED):
            some = lacking[start : start + LOADED]
            self._read(session, some, columns[start : start + LOADED], simulations)

    def _simulations(
        self, session: Session, explanation_ids: Sequence[int]
    ) -> dict[int, tuple[int, int | None]]:
        calibrate = aliased(Simulation)
        rows = session.execute(
            select(Simulation.explanation_id, Simulation.id, calibrate.id)
            .outerjoin(
                calibrate,
                (calibrate.explanation_id == Simulation.explanation_id)
                & (calibrate.simulator_id == self.simulator_id)
                & (calibrate.set == str(ContextSet.CALIBRATE)),
            )
            .where(
                among(Simulation.explanation_id, explanation_ids),
                Simulation.simulator_id == self.simulator_id,
                Simulation.set == str(ContextSet.EVALUATE),
            )
        )
        return {number: (evaluate, fitted) for number, evaluate, fitted in rows}

    def _crowded(self, wanted: dict[int, tuple[int, int | None]]) -> bool:
        return len(self._here.keys() | wanted.keys()) > len(wanted) + LOADED

    def _free_columns(self, count: int) -> list[int]:
        """So many unused columns of the arrays, which grow if they must."""
        taken = {one.column for one in self._here.values()}
        free = [column for column in range(self._raw.shape[2]) if column not in taken]
        if more := max(0, count - len(free)):
            # With a few to spare, since edits come one at a time.
            free += range(self._raw.shape[2], self._raw.shape[2] + more + LOADED)
            spare = ((0, 0), (0, 0), (0, more + LOADED))
            self._raw = np.pad(self._raw, spare)
            self._isotonic = np.pad(self._isotonic, spare)
        return free[:count]

    def _read(
        self,
        session: Session,
        explanation_ids: Sequence[int],
        columns: Sequence[int],
        simulations: dict[int, tuple[int, int | None]],
    ) -> None:
        rows = session.execute(
            select(
                Simulation.explanation_id,
                Simulation.context_ids,
                Simulation.values,
                Latent.index.label("latent"),
                Latent.quantiles,
            )
            .join(Explanation, Explanation.id == Simulation.explanation_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(among(Simulation.id, [simulations[i][0] for i in explanation_ids]))
        )
        maps = calibrations_of(session, explanation_ids, self.simulator_id)
        for row, column in zip(rows, columns, strict=True):
            number = row.explanation_id
            raw = values_on(row, self.context_ids)[:, self.where].astype(np.float32)
            fitted = maps[number]
            if not fitted:
                # Without a calibration every value is missing: its latent stays real.
                raw = np.full_like(raw, np.nan)
            self._raw[:, :, column] = raw
            isotonic = fitted.get(str(CalibrationMethod.ISOTONIC))
            self._isotonic[:, :, column] = isotonic(raw) if isotonic else raw
            # A latent that never fired has no activations to draw from but zero.
            quantiles = row.quantiles or [0.0] * QUANTILES
            self._here[number] = _Explained(
                column, simulations[number], row.latent, quantiles, fitted
            )

    def splice(
        self, condition: Condition, calibration: str, explanation_ids: Sequence[int], *, seed: int
    ) -> Splice:
        """The splice of a condition that has a set of latents."""
        values = self.values(calibration, explanation_ids)
        match condition:
            case Condition.REWRITTEN:
                return splice.rewritten(values)
            case Condition.REWRITTEN_ERROR_KEPT:
                return splice.rewritten_error_kept(values)
            case Condition.SET_ZEROED:
                return splice.set_zeroed(values)
            case Condition.SET_ZEROED_ERROR_KEPT:
                return splice.set_zeroed_error_kept(values)
            case Condition.NOISE:
                return splice.noise(values, seed=seed)
            case Condition.ORACLE_GATING:
                return splice.oracle_gating(values)
            case Condition.ORACLE_VALUES:
                return splice.oracle_values(values)
            case Condition.RANDOM_LATENTS:
                quantiles = torch.tensor([self._here[i].quantiles for i in explanation_ids])
                return splice.random_latents(values, quantiles, seed=seed)
        raise ValueError(f"{condition} has no set of latents")

    def values(self, calibration: str, explanation_ids: Sequence[int]) -> Values:
        """Calibrated values of some explanations, or raw ones if ``calibration`` is empty."""
        those = [self._here[i] for i in explanation_ids]
        columns = np.array([one.column for one in those])
        method = calibration or str(CalibrationMethod.NONE)
        isotonic = method == CalibrationMethod.ISOTONIC

        def at(rows: Tensor) -> Float[Tensor, "batch position rewritten"]:
            of = self._isotonic if isotonic else self._raw
            # Of a column each, as contexts of a batch lie far apart in memory.
            found = of[rows.numpy()].take(columns, axis=2)
            if calibration and not isotonic:
                for number, one in enumerate(those):
                    if fitted := one.maps.get(method):
                        found[:, :, number] = fitted(found[:, :, number])
            return torch.from_numpy(found)

        return Values(torch.tensor([one.latent for one in those]), at)

    def missing(self, explanation_ids: Sequence[int]) -> int:
        """The number of values that these explanations lack."""
        return int(self._lacking(explanation_ids).sum())

    def rewritten(self, explanation_ids: Sequence[int]) -> int:
        """The number of these explanations that have any value."""
        return int((~self._lacking(explanation_ids).all((0, 1))).sum())

    def alike(self, some: Sequence[int], others: Sequence[int]) -> bool:
        """True if two sets of explanations rewrite the same latents at the same tokens."""
        one, other = ({self._here[i].latent: i for i in ids} for ids in (some, others))
        if one.keys() != other.keys():
            return False
        changed = [(i, other[latent]) for latent, i in one.items() if other[latent] != i]
        if not changed:
            return True
        before, after = (self._lacking(ids) for ids in zip(*changed, strict=True))
        return np.array_equal(before, after)

    def _lacking(self, explanation_ids: Sequence[int]) -> NDArray[np.bool_]:
        columns = [self._here[i].column for i in explanation_ids]
        return np.isnan(self._raw[:, :, columns])
