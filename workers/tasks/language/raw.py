"""Raw simulated values of reworded explanations, calibrated and scored one by one."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.scoring.scores import Contexts, Ranked
from interp.simulate.protocol import Ask
from interp.vocabulary import ContextSet, Protocol
from models import Simulation, Simulator, Study
from models.base import among
from workers.resources import real_activations, simulator_of
from workers.task import Done
from workers.tasks.rows import context_strings, documents_of, values_on
from workers.tasks.simulate.steps import Text, calibrating


class Pair(NamedTuple):
    """Raw values of one explanation."""

    calibrate: Float[np.ndarray, "context seq"]
    evaluate: Float[np.ndarray, "context seq"]


class Raw(NamedTuple):
    """The contexts that a test is made on, and the simulator."""

    session: Session
    study: Study
    simulator: Simulator
    calibrate: Text
    evaluate: Text
    contexts: Contexts
    """Of the calibrate set."""
    where: slice
    """The positions that are spliced."""

    @classmethod
    def of(cls, session: Session, study: Study, simulator: Simulator) -> Self:
        calibrate = calibrating(session, study, simulator)
        ids, strings = context_strings(session, study, ContextSet.EVALUATE)
        return cls(
            session,
            study,
            simulator,
            calibrate,
            Text(ids[: study.contexts_rewrite], strings[: study.contexts_rewrite]),
            Contexts.of(documents_of(session, calibrate.ids), seed=study.seed),
            Protocol.WHOLE.spliced(study.context_length, study.first_position),
        )

    def nothing(self, count: int) -> Float[np.ndarray, "context position explanation"]:
        """No value for so many explanations."""
        positions = self.where.stop - self.where.start
        return np.full((len(self.evaluate.ids), positions, count), np.nan, np.float32)

    def stored(self, explanation_ids: Sequence[int]) -> list[Pair]:
        """The values of explanations as they were simulated before.

        Raises:
            InputError: They were removed meanwhile.
        """
        rows = self.session.scalars(
            select(Simulation).where(
                among(Simulation.explanation_id, explanation_ids),
                Simulation.simulator_id == self.simulator.id,
            )
        )
        found = {(row.explanation_id, row.set): row for row in rows}
        for number in explanation_ids:
            if not {(number, "calibrate"), (number, "evaluate")} <= found.keys():
                raise InputError(
                    "An explanation of this test is no longer simulated: it is being simulated "
                    "again. Test again when that is done."
                )
        return [
            Pair(
                values_on(found[i, ContextSet.CALIBRATE], self.calibrate.ids),
                values_on(found[i, ContextSet.EVALUATE], self.evaluate.ids),
            )
            for i in explanation_ids
        ]

    def simulated(self, asks: Sequence[Ask]) -> tuple[list[Pair], Done]:
        """The values of texts that are simulated now, and what that took."""
        strings = [*self.calibrate.strings, *self.evaluate.strings]
        split = len(self.calibrate.ids)
        pairs, spent = [], Done()
        loaded = simulator_of(self.simulator, self.study)
        for one in loaded.simulate(asks, strings, first_position=self.study.first_position):
            pairs.append(Pair(one.values[:split], one.values[split:]))
            spent = spent._replace(
                missing=spent.missing + one.missing,
                tokens_read=spent.tokens_read + one.tokens_read,
                tokens_written=spent.tokens_written + one.tokens_written,
            )
        return pairs, spent

    def calibrated(
        self, latent: int, pair: Pair
    ) -> tuple[float, Float[np.ndarray, "context position"]]:
        """The correlation on the calibrate set, and the isotonic values on the evaluate set: NaN
        where every value is missing."""
        start = self.study.first_position
        contexts = len(self.calibrate.ids)
        real = real_activations(self.study, latent, ContextSet.CALIBRATE, contexts)[:, start:]
        ranked = Ranked(pair.calibrate[:, start:].astype(np.float64), self.contexts)
        values = pair.evaluate[:, self.where].astype(np.float64)
        if not len(ranked.whole.tokens):
            return np.nan, np.full_like(values, np.nan)
        fitted = ranked.whole.isotonic(real.ravel())
        return float(ranked.figures(real)[0]), fitted(values)
