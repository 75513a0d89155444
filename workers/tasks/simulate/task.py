"""Simulate explanations, calibrate and score them, and measure their loss effects."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import ContextSet
from jobs import chain
from jobs.events import publish
from jobs.params import SimulateParams
from jobs.queue import follow
from models import (
    Example,
    Explanation,
    Job,
    Latent,
    LossEffect,
    Score,
    Simulation,
    Simulator,
    Study,
)
from models.base import among
from workers.resources import store_of
from workers.task import Done, Task, Unit, remember
from workers.tasks.simulate import chosen
from workers.tasks.simulate.loss_effects import ALL
from workers.tasks.simulate.steps import (
    Block,
    evaluate,
    examples,
    examples_and_scores,
    measure_first,
    measure_loss_effects,
    scores_of_block,
    values_of_block,
)

ALONE = {
    str(ContextSet.CALIBRATE): examples_and_scores,
    str(ContextSet.EVALUATE): evaluate,
}
"""The steps for an explanation that is simulated alone, in this order."""
BLOCKS = {"values": values_of_block, "scores": scores_of_block}
"""The steps for several explanations, if the simulator takes them at once: one after the other."""
STEPS = {
    **ALONE,
    **BLOCKS,
    "first_effects": measure_first,
    "examples": examples,
    "loss_effects": measure_loss_effects,
}
MESSAGES = {
    str(ContextSet.CALIBRATE): "simulating",
    str(ContextSet.EVALUATE): "simulating",
    "values": "simulating",
    "scores": "scoring",
    "examples": "simulating the examples of",
    "first_effects": "measuring the loss effect of",
    "loss_effects": "measuring the loss effect of",
}
SECONDS = 1.0
"""The time that a block of explanations is aimed to take: what people wait for goes between two."""
READ = 112
"""Explanations that are read at once: those of a block, and those that follow. That takes about two
seconds on two cores."""
FIRST = 4
"""Explanations in a first block, when nobody knows yet how long one takes."""
_seconds: dict[tuple[int, str], float] = {}
"""By simulator and step, the seconds that an explanation took in this process's last blocks."""


class Simulate(Task):
    """Simulates some explanations.

    An explanation alone is simulated on its latent's examples and on the calibrate set, and scored.
    Then it is simulated on the evaluate set, and its loss effect is measured under the isotonic
    calibration. The other calibrations are left to another job, too.

    Several are simulated on the calibrate and the evaluate set and calibrated first: that is what a
    rewrite of the layer needs. If the simulator takes many at once, all of them are, and the layer
    is measured while they are scored. Another job, which nobody waits for, does the rest of it: the
    examples, if the simulator takes many explanations at once, and the loss effects of as many
    latents as the job names.
    """

    counts = "steps"

    def __init__(self, asked: SimulateParams) -> None:
        self.asked = asked

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Choose the explanations and the simulator, once, and forget what is to be made anew."""
        simulator = self._simulator(session, job, study)
        if self.asked.simulator_id is None:
            remember(session, job, simulator_id=simulator.id)
        if "explanation_ids" not in job.state:
            # They are kept with the job, so that a retry goes on with the same ones.
            some: Sequence[int] = self.asked.explanation_ids
            some = some or chosen.first(session, study, self.asked.first_latents)
            chosen.check(session, some)
            if SIMULATORS.named(simulator.method).batch > 1 and not self.asked.rest:
                early = chain.EARLY_OF_MANY if len(some) >= chain.MANY else 0
                some = chosen.arranged(session, some, early)
            remember(session, job, explanation_ids=list(some))
        ids = self._explanation_ids(job)
        for context_set in (ContextSet.CALIBRATE, ContextSet.EVALUATE):
            store_of(study, context_set).check()  # before anything is spent
        if self.asked.again and not job.state.get("cleared"):
            _clear(session, simulator, ids)
            remember(session, job, cleared=True)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Everything that a rewrite needs first, explanation by explanation or block by block."""
        simulator = self._simulator(session, job, study)
        ids = self._explanation_ids(job)
        done = _done(session, simulator, ids)
        size = SIMULATORS.named(simulator.method).batch
        several = len(ids) > 1
        if self.asked.rest:
            steps = [("examples", start) for start in range(0, len(ids), size) if size > 1]
        elif several and size > 1:
            steps = [(s, start) for s in BLOCKS for start in range(0, len(ids), size)]
        else:
            steps, size = [(step, start) for start in range(len(ids)) for step in ALONE], 1
        units = [(step, start, min(start + size, len(ids))) for step, start in steps]
        if self.asked.rest or not several:
            step = "loss_effects" if self.asked.rest else "first_effects"
            units += [(step, i, i + 1) for i in range(self._measured(ids))]
        return [
            Unit(step, start, stop, sum(number in done[step] for number in ids[start:stop]))
            for step, start, stop in units
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Do a step for what of the block lacks it, or for as much as there is time for."""
        if self.asked.then_rewrite and (when := self._first_looks(job, unit)):
            follow(session, job, when, chain.rewrites(self.asked, job.state))
        simulator = self._simulator(session, job, study)
        every = self._explanation_ids(job)
        ids, later = list(every[unit.start : unit.stop]), list(every[unit.stop :])
        if unit.size > 1:
            done = _done(session, simulator, ids)[unit.name]
            ids = [number for number in ids if number not in done]
        count = _at_once(simulator, unit.name)
        some = ids[:count]
        ahead = max(0, READ - count) if unit.name == "values" else 0
        block = _block(session, some, (ids + later)[count:][:ahead])
        began = time.monotonic()
        done_now = STEPS[unit.name](session, study, simulator, block)
        session.commit()
        took = (time.monotonic() - began) / len(some)
        # A block reads for the next ones: the mean of the last few tells what one takes in the end.
        before = _seconds.get((simulator.id, unit.name), took)
        _seconds[simulator.id, unit.name] = 0.7 * before + 0.3 * took
        for latent in block.latents:
            publish(study.id, "latent", latent.id)
        which = f"latent {block.latents[0].index}" if unit.size == 1 else "latents"
        left = len(ids) - len(some)
        return done_now._replace(
            message=f"{MESSAGES[unit.name]} {which}", part=unit.size - left if left else None
        )

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Rewrite jobs follow, if the job asks for it, and a job for the rest."""
        publish(study.id, "latents")
        ids = self._explanation_ids(job)
        at_once = SIMULATORS.named(self._simulator(session, job, study).method).batch > 1
        left = self._measured(ids) > 0 or (len(ids) > 1 and at_once)
        follow(session, job, "last", chain.after(self.asked, {**job.state, "left": left}))

    def _first_looks(self, job: Job, unit: Unit) -> str:
        """What is simulated before a unit, if it makes the layer worth a look. Empty otherwise."""
        if unit.name == str(ContextSet.CALIBRATE) and unit.start == chain.EARLY:
            return "early"
        if unit.name == "scores" and unit.start == 0:
            return "values"
        many = len(self._explanation_ids(job)) >= chain.MANY
        return (
            "early" if many and (unit.name, unit.start) == ("values", chain.EARLY_OF_MANY) else ""
        )

    def _measured(self, ids: Sequence[int]) -> int:
        """How many of the explanations have their loss effects measured."""
        most = self.asked.individually
        return len(ids) if most is None else min(most, len(ids))

    def _simulator(self, session: Session, job: Job, study: Study) -> Simulator:
        named = self.asked.simulator_id or job.state.get("simulator_id")
        return chosen.simulator(session, named or study.simulator_id)

    def _explanation_ids(self, job: Job) -> Sequence[int]:
        ids: Sequence[int] = job.state["explanation_ids"]
        return ids


def _at_once(simulator: Simulator, step: str) -> int:
    """Explanations to take at once, by the time that the last ones took each."""
    seconds = _seconds.get((simulator.id, step))
    return FIRST if seconds is None else max(1, round(SECONDS / seconds))


def _clear(session: Session, simulator: Simulator, ids: Sequence[int]) -> None:
    """Forget what a simulator made of explanations, so that it is asked again."""
    tables: tuple[Any, ...] = (Simulation, Score, LossEffect)
    for table in tables:
        session.execute(
            delete(table).where(
                among(table.explanation_id, ids), table.simulator_id == simulator.id
            )
        )


def _done(session: Session, simulator: Simulator, ids: Sequence[int]) -> dict[str, set[int]]:
    """The explanations that each step is done for."""
    by_set: dict[str, set[int]] = {str(name): set() for name in ContextSet}
    simulated = session.execute(
        select(Simulation.set, Simulation.explanation_id).where(
            among(Simulation.explanation_id, ids), Simulation.simulator_id == simulator.id
        )
    )
    for name, number in simulated:
        by_set[name].add(number)
    without_examples = session.scalars(
        select(Explanation.id).where(
            among(Explanation.id, ids),
            ~select(Example.id).where(Example.latent_id == Explanation.latent_id).exists(),
        )
    )
    lines = session.execute(
        select(LossEffect.explanation_id, func.count())
        .where(among(LossEffect.explanation_id, ids), LossEffect.simulator_id == simulator.id)
        .group_by(LossEffect.explanation_id)
    )
    measured = {number: count for number, count in lines}
    scored = set(
        session.scalars(
            select(Score.explanation_id).where(
                among(Score.explanation_id, ids), Score.simulator_id == simulator.id
            )
        )
    )
    calibrated, evaluated = by_set[ContextSet.CALIBRATE], by_set[ContextSet.EVALUATE]
    return {
        str(ContextSet.CALIBRATE): calibrated & scored,
        str(ContextSet.EVALUATE): evaluated,
        "values": calibrated & evaluated,
        "scores": scored,
        "examples": by_set[ContextSet.EXPLAIN] | set(without_examples),
        "first_effects": set(measured),
        "loss_effects": {number for number, count in measured.items() if count == len(ALL)},
    }


def _block(session: Session, ids: Sequence[int], following: Sequence[int] = ()) -> Block:
    """Some explanations, locked until this transaction ends: of two workers that have the same one
    to simulate, the second waits, and finds it done.

    Args:
        following: Explanations that come after them.
    """
    rows = (
        select(Explanation, Latent)
        .join(Latent, Latent.id == Explanation.latent_id)
        .order_by(Explanation.id)
    )
    own = rows.where(Explanation.id.in_(ids)).with_for_update(of=Explanation, key_share=True)
    later = session.execute(rows.where(Explanation.id.in_(following)))
    found = {explanation.id: (explanation, latent) for explanation, latent in session.execute(own)}
    if gone := [number for number in ids if number not in found]:
        raise InputError(f"Explanation {gone[0]} was removed. Simulate the others in a new job.")
    return Block(
        [found[i][0] for i in ids],
        [found[i][1] for i in ids],
        [Ask(explanation.text, None, latent.index) for explanation, latent in later],
    )
