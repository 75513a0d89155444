"""Simulate explanations, calibrate and score them, and measure their loss effects."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from interp.simulate.registry import SIMULATORS
from interp.vocabulary import ContextSet
from jobs import chain
from jobs.events import publish
from jobs.params import SimulateParams
from jobs.queue import follow
from models import Explanation, Job, Latent, LossEffect, Score, Simulation, Simulator, Study
from models.base import among
from workers.resources import store_of
from workers.task import Done, Task, Unit
from workers.tasks.simulate import chosen
from workers.tasks.simulate.steps import Block, evaluate, examples_and_scores, measure_loss_effects

STEPS = {
    str(ContextSet.CALIBRATE): examples_and_scores,
    str(ContextSet.EVALUATE): evaluate,
    "loss_effects": measure_loss_effects,
}
"""The steps for each explanation, in this order."""


class Simulate(Task):
    """Simulates some explanations.

    Each is simulated on its latent's examples and on the calibrate set, and scored. Then it is
    simulated on the evaluate set. The job names how many of them are measured
    individually. A unit is one of these steps, for one explanation or for a block.
    """

    counts = "steps"

    def __init__(self, asked: SimulateParams) -> None:
        self.asked = asked

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Choose the explanations and the simulator, once, and forget what is to be made anew."""
        simulator = self._simulator(session, job, study)
        if self.asked.simulator_id is None:
            job.state = {**job.state, "simulator_id": simulator.id}
        if not self.asked.explanation_ids and "explanation_ids" not in job.state:
            # They are kept with the job, so that a retry goes on with the same latents.
            first = chosen.first(session, study, self.asked.first_latents)
            job.state = {**job.state, "explanation_ids": first}
        ids = self._explanation_ids(job)
        chosen.check(session, ids)
        for context_set in (ContextSet.CALIBRATE, ContextSet.EVALUATE):
            store_of(study, context_set).check()  # before anything is spent
        if self.asked.again and not job.state.get("cleared"):
            _clear(session, simulator, ids)
            job.state = {**job.state, "cleared": True}
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The steps of one block after the other."""
        simulator = self._simulator(session, job, study)
        ids = self._explanation_ids(job)
        measured = min(
            len(ids) if self.asked.individually is None else self.asked.individually, len(ids)
        )
        done = _done(session, simulator, ids)
        return [
            Unit(step, start, stop, sum((step, number) in done for number in ids[start:stop]))
            for start, stop in _blocks(len(ids), measured, SIMULATORS.named(simulator.method).batch)
            for step in STEPS
            if step != "loss_effects" or start < measured
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Do one step for what of the block lacks it."""
        if unit.start == chain.EARLY and self.asked.then_rewrite:
            follow(session, job, "early", chain.rewrites(self.asked, job.state))
        simulator = self._simulator(session, job, study)
        block = _block(session, self._explanation_ids(job)[unit.start : unit.stop])
        done = STEPS[unit.name](session, study, simulator, block)
        session.commit()
        for latent in block.latents:
            publish(study.id, "latent", latent.id)
        indices = [latent.index for latent in block.latents]
        which = f"latent {indices[0]}" if len(indices) == 1 else f"{len(indices)} latents"
        return done._replace(message=f"simulating {which}")

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Rewrite jobs follow, if the job asks for it."""
        publish(study.id, "latents")
        follow(session, job, "last", chain.after(self.asked, job.state))

    def _simulator(self, session: Session, job: Job, study: Study) -> Simulator:
        named = self.asked.simulator_id or job.state.get("simulator_id")
        return chosen.simulator(session, named or study.simulator_id)

    def _explanation_ids(self, job: Job) -> Sequence[int]:
        return self.asked.explanation_ids or job.state["explanation_ids"]


def _clear(session: Session, simulator: Simulator, ids: Sequence[int]) -> None:
    """Forget what a simulator made of explanations, so that it is asked again."""
    tables: tuple[Any, ...] = (Simulation, Score, LossEffect)
    for table in tables:
        session.execute(
            delete(table).where(
                among(table.explanation_id, ids), table.simulator_id == simulator.id
            )
        )


def _done(session: Session, simulator: Simulator, ids: Sequence[int]) -> set[tuple[str, int]]:
    """The steps that are done, each with its explanation."""
    simulated = session.execute(
        select(Simulation.set, Simulation.explanation_id).where(
            among(Simulation.explanation_id, ids), Simulation.simulator_id == simulator.id
        )
    )
    measured = session.scalars(
        select(LossEffect.explanation_id)
        .where(among(LossEffect.explanation_id, ids), LossEffect.simulator_id == simulator.id)
        .distinct()
    )
    steps = {(name, number) for name, number in simulated}
    return steps | {("loss_effects", number) for number in measured}


def _blocks(explanations: int, measured: int, size: int) -> Iterator[tuple[int, int]]:
    """Those that are measured individually come one by one, since that takes seconds for each."""
    yield from ((i, i + 1) for i in range(measured))
    for start in range(measured, explanations, size):
        yield start, min(start + size, explanations)


def _block(session: Session, ids: Sequence[int]) -> Block:
    rows = session.execute(
        select(Explanation, Latent)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Explanation.id.in_(ids))
    )
    found = {explanation.id: (explanation, latent) for explanation, latent in rows}
    return Block([found[i][0] for i in ids], [found[i][1] for i in ids])
