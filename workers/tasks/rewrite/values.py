"""The simulated values of a rewrite's explanations, as splices want them."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.rewriting import splice
from interp.rewriting.splice import Splice, Values
from interp.vocabulary import CalibrationMethod, Condition, ContextSet
from models import Explanation, Latent, Simulation
from workers.tasks.rows import calibrations_of, values_on

QUANTILES = 11
"""A latent's activations are stored at eleven ranks, from the smallest to the largest."""


class SimulatedValues:
    """Raw values of explanations on some contexts of the evaluate set, at the spliced positions."""

    def __init__(
        self,
        session: Session,
        explanation_ids: list[int],
        simulator_id: int,
        context_ids: list[int],
        where: slice,
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
            .where(
                Simulation.explanation_id.in_(explanation_ids),
                Simulation.simulator_id == simulator_id,
                Simulation.set == str(ContextSet.EVALUATE),
            )
            .execution_options(yield_per=256)
        )
        self._raw: dict[int, NDArray[np.float32]] = {}
        self._maps = calibrations_of(session, explanation_ids, simulator_id)
        self._latents: dict[int, int] = {}
        self._quantiles: dict[int, list[float]] = {}
        for row in rows:
            explanation = row.explanation_id
            raw = values_on(row, context_ids)[:, where]
            if not self._maps[explanation]:
                # Without a calibration every value is missing: its latent stays real.
                raw = np.full_like(raw, np.nan)
            self._raw[explanation] = raw.astype(np.float32)
            self._latents[explanation] = row.latent
            # A latent that never fired has no activations to draw from but zero.
            self._quantiles[explanation] = row.quantiles or [0.0] * QUANTILES

    def splice(
        self, condition: Condition, calibration: str, explanation_ids: list[int], *, seed: int
    ) -> Splice:
        """The splice of a condition that has a set of latents."""
        values = self.values(calibration, explanation_ids)
        match condition:
            case Condition.REWRITTEN:
                return splice.rewritten(values)
            case Condition.SET_ZEROED:
                return splice.set_zeroed(values)
            case Condition.ORACLE_GATING:
                return splice.oracle_gating(values)
            case Condition.ORACLE_VALUES:
                return splice.oracle_values(values)
            case Condition.RANDOM_LATENTS:
                quantiles = torch.tensor([self._quantiles[i] for i in explanation_ids])
                return splice.random_latents(values, quantiles, seed=seed)
        raise ValueError(f"{condition} has no set of latents")

    def values(self, calibration: str, explanation_ids: list[int]) -> Values:
        """Calibrated values of some explanations, or raw ones if ``calibration`` is empty."""
        method = calibration or str(CalibrationMethod.NONE)

        def at(rows: Tensor) -> Float[Tensor, "batch position rewritten"]:
            columns = [
                self._maps[i][method](self._raw[i][rows]) if self._maps[i] else self._raw[i][rows]
                for i in explanation_ids
            ]
            return torch.from_numpy(np.stack(columns, axis=-1)).float()

        return Values(torch.tensor([self._latents[i] for i in explanation_ids]), at)

    def missing(self, explanation_ids: list[int]) -> int:
        """The number of values that these explanations lack."""
        return sum(int(np.isnan(self._raw[i]).sum()) for i in explanation_ids)

    def rewritten(self, explanation_ids: list[int]) -> int:
        """The number of these explanations that have any value."""
        return sum(not np.isnan(self._raw[i]).all() for i in explanation_ids)
