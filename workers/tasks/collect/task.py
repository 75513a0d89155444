"""Collect the activations of a study's coder, and put its latents and their examples in tables."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Integer, func, literal_column, select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.coders.capture import collect
from interp.simulate.prompted import all_at_once
from interp.vocabulary import ContextSet
from jobs import chain
from jobs.events import publish
from jobs.params import CollectParams
from jobs.queue import follow
from models import Job, Latent, Simulator, Study
from workers.resources import coder_of, store_of, subject_of
from workers.task import Done, Task, Unit, runs
from workers.tasks.collect import contexts
from workers.tasks.collect.latents import Latents
from workers.tasks.rows import context_tokens

SHARD, SHARD_TOKENS = 512, 131_072
"""Contexts and tokens in a shard at most: a few seconds of work on a CPU, in memory at once."""
BLOCK = 512
"""Latents whose statistics and examples are made at once."""


class Collect(Task):
    """Collects what is missing.

    Its units are the shards of each set of contexts, the blocks of latents (``latents``), and the
    same blocks compared with all others (``similar``).
    """

    counts = "steps"

    def __init__(self, asked: CollectParams) -> None:
        self.asked = asked
        self._gaps: dict[ContextSet, list[range]] = {}
        self._tokens: dict[ContextSet, Tensor] = {}
        self._latents: Latents | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Make the contexts, and see that the coder fits."""
        if job.state.get("anew"):
            contexts.forget(session, job, study)
        contexts.settle_sites(session, study)
        subject, coder = subject_of(study), coder_of(study)
        contexts.make_contexts(session, study, subject.tokenizer)
        contexts.check(session, study, subject, coder)

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Shards that are whole, latents that are there, and those that are complete, are done."""
        units = []
        for context_set in ContextSet:
            store = store_of(study, context_set)
            gaps = self._gaps[context_set] = store.missing()
            for shard in runs(store.contexts, min(SHARD, max(1, SHARD_TOKENS // store.seq))):
                lacking = sum(len(part) for part in _within(gaps, shard))
                units.append(_unit(str(context_set), shard, len(shard) - lacking))
        latents = study.coder_info["num_latents"]
        incomplete = Latent.similar.is_(None) | Latent.histogram.is_(None)
        block = Latent.index // literal_column(str(BLOCK), Integer())
        rows = session.execute(
            select(block, func.count(), func.count().filter(incomplete))
            .where(Latent.study_id == study.id)
            .group_by(block)
        ).all()
        there = {number * BLOCK: (made, lacking) for number, made, lacking in rows}
        blocks = [(run, *there.get(run.start, (0, 0))) for run in runs(latents, BLOCK)]
        units += [_unit("latents", run, made) for run, made, _ in blocks]
        units += [_unit("similar", run, made - lacking) for run, made, lacking in blocks]
        return units

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Collect a shard, or make or complete a block of latents."""
        run = range(unit.start, unit.stop)
        if unit.name in [*ContextSet]:
            self._collect(session, study, ContextSet(unit.name), run)
            return Done("collecting activations")
        if self._latents is None:
            _remove_strays(study)
            self._latents = Latents(session, study, coder_of(study))
        if unit.name == "latents":
            self._latents.make(run, subject_of(study))
        else:
            self._latents.complete(run)
        session.commit()
        return Done("choosing examples" if unit.name == "latents" else "comparing directions")

    def _collect(self, session: Session, study: Study, context_set: ContextSet, run: range) -> None:
        """Collect what is missing of a shard. One that is written twice has the same content."""
        store = store_of(study, context_set)
        if context_set not in self._gaps:
            self._gaps[context_set] = store.missing()
        if context_set not in self._tokens:
            self._tokens = {context_set: context_tokens(session, study, context_set)[1]}
        for part in _within(self._gaps[context_set], run):
            collected = collect(
                subject_of(study),
                coder_of(study),
                self._tokens[context_set][part.start : part.stop],
                first_position=study.first_position,
                first_context=part.start,
            )
            store.write(part.start, collected)

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Give the study its figures and a simulator. Explain jobs follow, if it never had one."""
        _remove_strays(study)
        if study.simulator_id is None:
            study.simulator_id = _default_simulator(session, study).id
        dead = select(func.count()).where(Latent.study_id == study.id, Latent.max_activation == 0)
        tokens, _ = store_of(study, ContextSet.EXPLAIN).summary()
        study.coder_info = {**study.coder_info, "tokens": tokens, "dead": session.scalar(dead)}
        session.commit()
        publish(study.id, "latents")
        explained = select(Job.id).filter_by(study_id=study.id, kind="explain").limit(1)
        if session.scalar(explained) is None:
            follow(session, job, "last", chain.after(self.asked, job.state))


def _unit(name: str, run: range, done: int) -> Unit:
    return Unit(name, run.start, run.stop, done)


def _within(gaps: Sequence[range], run: range) -> list[range]:
    """The parts of gaps that lie in a run."""
    parts = [range(max(gap.start, run.start), min(gap.stop, run.stop)) for gap in gaps]
    return [part for part in parts if part]


def _remove_strays(study: Study) -> None:
    for context_set in ContextSet:
        store_of(study, context_set).remove_strays()


def _default_simulator(session: Session, study: Study) -> Simulator:
    """The prompted simulator on the study's own model: what is there on any machine."""
    wanted = {
        "method": "all_at_once",
        "model": str(Path(study.model)) if Path(study.model).exists() else study.model,
        "prompt_version": all_at_once.VERSION,
        "options": {},
    }
    found = session.scalar(select(Simulator).filter_by(**wanted))
    if found is None:
        found = Simulator(**wanted)
        session.add(found)
        session.flush()
    return found
