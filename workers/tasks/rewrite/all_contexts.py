"""Measure the main point of a rewrite on all contexts of the evaluate set.

Edits are measured on the panel, the first contexts, on which simulated values are stored. On all
contexts they would be gigabytes. So each explanation is simulated here once more, and the values
are files until the losses are measured.
"""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.rewriting import splice
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import Splice, Values
from interp.simulate.protocol import Ask, ReadsAhead
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import Breadth, CalibrationMethod, Condition, ContextSet, Protocol
from jobs.events import publish
from jobs.params import RewriteParams
from models import Explanation, Job, Latent, Rewrite, Simulation, Simulator, Study
from models.base import among
from models.rewrite import has_main_point
from workers.resources import coder_of, simulator_of, subject_of
from workers.task import Done, Task, Unit, remember, runs
from workers.tasks.parts import Measured, Parts, remove_left
from workers.tasks.rewrite.measurement import baseline_splice
from workers.tasks.rewrite.orderings import row_of
from workers.tasks.rewrite.points import BASELINES, Planned, find, main_points, measured
from workers.tasks.rewrite.record import Record, last, parent_of
from workers.tasks.rows import calibrations_of, context_tokens, documents_of
from workers.tasks.simulate.steps import Block, evaluating, simulated
from workers.tasks.simulate.task import READ

CONTEXTS = 8
"""Contexts whose losses are measured in one unit."""
FOLDER = "rewrite"
"""Of the parts of rewrites that are not finished, in the study's folder."""


class AllContexts(Task):
    """Simulates the explanations in blocks, then measures the main point and its baselines.

    On the panel they are measured already. Those losses are taken over, and so are the points that
    an earlier rewrite has on all contexts, if nothing that they depend on has changed.
    """

    counts = "steps"

    def __init__(self, asked: RewriteParams) -> None:
        self.asked = asked

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Take over what an earlier rewrite has, once."""
        if "rewrite_id" in job.state:
            return
        rewrite = session.get(Rewrite, self.asked.rewrite_id)
        if rewrite is None:
            return  # it was deleted
        remove_left(session, study, FOLDER)
        earlier = last(session, rewrite, has_main_point(Breadth.ALL))
        if earlier is not None:
            record = _record(session, study, rewrite)
            for point in _lacking(session, rewrite):
                there = record.same_place(point, earlier)
                if there and set(there[0].explanation_ids) == set(point.explanation_ids):
                    record.copy(point, there[1])
        remember(session, job, rewrite_id=rewrite.id)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The blocks of explanations, then the contexts beyond the panel."""
        rewrite = row_of(session, job)
        if rewrite is None:
            return []
        parts, ended = _parts(job, study), not _lacking(session, rewrite)
        beyond = study.contexts_evaluate - len(rewrite.context_ids)
        return [
            *(
                _unit("explanations", run, ended or parts.has_block(run.start))
                for run in _blocks(session, rewrite)
            ),
            *(
                _unit("contexts", run, ended or parts.has_contexts(run.start))
                for run in runs(beyond, CONTEXTS)
            ),
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Simulate a block of explanations, or measure all of them on some contexts."""
        rewrite = row_of(session, job)
        assert rewrite is not None, "or there is no unit"
        parts = _parts(job, study)
        if unit.name == "contexts":
            self._measure(session, study, rewrite, parts, unit)
            return Done("measuring on all contexts")
        return self._simulate(session, study, rewrite, parts, unit)

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Save the points, and remove the parts."""
        rewrite = row_of(session, job)
        if rewrite is None:
            return
        parts = _parts(job, study)
        if lacking := _lacking(session, rewrite):
            self._save(session, study, rewrite, parts, lacking)
            session.commit()
        parts.remove()
        publish(study.id, "chart")

    def _simulate(
        self, session: Session, study: Study, rewrite: Rewrite, parts: Parts, unit: Unit
    ) -> Done:
        block = _block(session, rewrite, unit)
        simulator = session.get_one(Simulator, rewrite.simulator_id)
        loaded = simulator_of(simulator, study)
        if isinstance(loaded, ReadsAhead):
            asks = [Ask(one.text, None, latent.index) for one, latent in block.pairs()]
            loaded.read_ahead(asks, block.following)
        text = evaluating(session, study, range(study.contexts_evaluate))
        found = simulated(session, study, simulator, block, ContextSet.EVALUATE, text)
        maps = calibrations_of(session, [one.id for one in block.explanations], simulator.id)
        where = Protocol(rewrite.protocol).spliced(study.context_length, study.first_position)
        size = len(text.ids), where.stop - where.start, unit.size
        values = np.full(size, np.nan, np.float32)
        for column, one in enumerate(found):
            # Without a calibration every value is missing: its latent stays real.
            if isotonic := maps[one.explanation_id].get(str(CalibrationMethod.ISOTONIC)):
                values[:, :, column] = isotonic(one.values[:, where].astype(np.float64))
        parts.save_block(unit.start, values)
        return Done(
            "simulating on all contexts",
            tokens_read=sum(one.tokens_read for one in found),
            tokens_written=sum(one.tokens_written for one in found),
        )

    def _measure(
        self, session: Session, study: Study, rewrite: Rewrite, parts: Parts, unit: Unit
    ) -> None:
        values = parts.spliced(_starts(session, rewrite), _latents(session, rewrite))
        panel = len(rewrite.context_ids)
        found = evaluate(
            subject_of(study),
            coder_of(study),
            context_tokens(session, study, ContextSet.EVALUATE)[1],
            [_splice(study, point, values) for point in _lacking(session, rewrite)],
            protocol=Protocol(rewrite.protocol),
            first_position=study.first_position,
            rows=range(panel + unit.start, panel + unit.stop),
        )
        parts.save_contexts(unit.start, Measured(found.loss, found.kl))

    def _save(
        self,
        session: Session,
        study: Study,
        rewrite: Rewrite,
        parts: Parts,
        lacking: Sequence[Planned],
    ) -> None:
        record, starts = _record(session, study, rewrite), _starts(session, rewrite)
        beyond = study.contexts_evaluate - len(rewrite.context_ids)
        losses, kls = parts.contexts([run.start for run in runs(beyond, CONTEXTS)])
        missing, rewritten = parts.missing(starts), parts.rewritten(starts)
        for row, point in enumerate(lacking):
            panel = find(session, rewrite, point)
            assert panel is not None and panel.kls is not None, "the panel is measured first"
            record.save(
                point,
                np.concatenate([np.array(panel.losses, dtype=float), losses[row]]),
                np.concatenate([np.array(panel.kls, dtype=float), kls[row]]),
                rewritten=rewritten if point.explanation_ids else 0,
                missing=missing if point.explanation_ids else 0,
            )


def _record(session: Session, study: Study, rewrite: Rewrite) -> Record:
    ids, _ = context_tokens(session, study, ContextSet.EVALUATE)
    documents = documents_of(session, ids)
    return Record(session, study, rewrite, parent_of(session, rewrite), documents, Breadth.ALL)


def _lacking(session: Session, rewrite: Rewrite) -> list[Planned]:
    """The points that are not there yet. All that are measured are saved together."""
    there = measured(session, rewrite, Breadth.ALL)
    return [point for point in main_points(rewrite) if point.key not in there]


def _splice(study: Study, point: Planned, values: Values) -> Splice:
    if point.condition in BASELINES:
        return baseline_splice(study, point.condition)
    zeroed = point.condition == Condition.SET_ZEROED
    return splice.set_zeroed(values) if zeroed else splice.rewritten(values)


def _blocks(session: Session, rewrite: Rewrite) -> list[range]:
    """The explanations, as many in a block as the simulator takes at once."""
    method = session.get_one(Simulator, rewrite.simulator_id).method
    return [*runs(len(rewrite.explanation_ids), SIMULATORS.named(method).batch)]


def _starts(session: Session, rewrite: Rewrite) -> list[int]:
    return [run.start for run in _blocks(session, rewrite)]


def _latents(session: Session, rewrite: Rewrite) -> list[int]:
    """The latents of all explanations, in their order."""
    rows = session.execute(
        select(Explanation.id, Latent.index)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(among(Explanation.id, rewrite.explanation_ids))
    )
    latents = {number: index for number, index in rows}
    return [latents[number] for number in rewrite.explanation_ids]


def _block(session: Session, rewrite: Rewrite, unit: Unit) -> Block:
    """Some explanations with their latents, and those that are read with them.

    Raises:
        InputError: They were removed meanwhile, or are being simulated again.
    """
    ids = rewrite.explanation_ids[unit.start : unit.stop]
    following = rewrite.explanation_ids[unit.stop : unit.start + READ]
    rows = session.execute(
        select(Explanation, Latent)
        .join(Latent, Latent.id == Explanation.latent_id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .where(
            among(Explanation.id, [*ids, *following]),
            Simulation.simulator_id == rewrite.simulator_id,
            Simulation.set == str(ContextSet.CALIBRATE),
        )
    )
    found = {explanation.id: (explanation, latent) for explanation, latent in rows}
    if not set(ids) <= found.keys():
        raise InputError(
            "An explanation of this rewrite was removed, or is being simulated again. Rewrite the "
            "layer again when that is done."
        )
    later = [found[number] for number in following if number in found]
    return Block(
        [found[number][0] for number in ids],
        [found[number][1] for number in ids],
        [Ask(explanation.text, None, latent.index) for explanation, latent in later],
    )


def _parts(job: Job, study: Study) -> Parts:
    return Parts.of(job, study, FOLDER)


def _unit(name: str, run: range, done: bool) -> Unit:
    return Unit(name, run.start, run.stop, len(run) if done else 0)
