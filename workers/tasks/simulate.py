"""Simulate explanations, calibrate and score them, and measure what each costs alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from interp.corpus.contexts import ContextSet
from interp.errors import InputError
from interp.rewriting.evaluate import Protocol
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS
from models import (
    Context,
    Example,
    Explanation,
    Job,
    Latent,
    LatentCost,
    Score,
    Simulation,
    Simulator,
    Study,
)
from workers.jobs import Progress
from workers.queue import publish, submit, supersede
from workers.resources import simulator_of, store_of
from workers.tasks import costs, scores
from workers.tasks.rows import calibrations_of, context_strings, first_position
from workers.version import code_version

MIN_RATE = 0.01
"""The first latents are chosen among those that fire on at least this share of tokens: a rarer one
is active on so few tokens of the calibrate and evaluate sets that little could be said about it."""
EARLY = 8
"""A longer job has the layer measured after so many latents too: something to see meanwhile."""


class Text(NamedTuple):
    """Contexts to simulate on."""

    ids: list[int]
    strings: list[list[str]]


class Block(NamedTuple):
    """Explanations that are simulated together, with their latents."""

    explanations: list[Explanation]
    latents: list[Latent]


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Simulate some explanations; then queue the rewrite job if it is asked for.

    Each is simulated on its latent's examples and on the calibrate set, and scored; then on the
    evaluate set. What each costs alone is measured for the first so many that the job names.
    """
    simulator = _simulator(session, job, study)
    explanations = _explanations(session, job, study)
    for context_set in (ContextSet.CALIBRATE, ContextSet.EVALUATE):
        store_of(study, context_set).check()  # before anything is spent
    if job.params.get("again") and not job.params.get("cleared"):
        _clear(session, job, simulator, explanations)
    costed = min(job.params.get("costs", len(explanations)), len(explanations))
    total = 2 * len(explanations) + costed
    done = 0
    for start, stop in _blocks(len(explanations), costed, SIMULATORS.named(simulator.method).batch):
        block = _block(session, explanations[start:stop])
        if start == EARLY:
            _queue_rewrites(session, job, study, simulator, len(explanations), "early")
        steps = [_examples_and_scores, _evaluate, *([_costs] if start < costed else [])]
        for work in steps:
            done += stop - start
            spent = work(session, study, simulator, block)
            if spent is None:
                continue
            session.commit()
            for latent in block.latents:
                publish(study.id, "latent", latent.id)
            indices = [latent.index for latent in block.latents]
            which = f"latent {indices[0]}" if len(indices) == 1 else f"{len(indices)} latents"
            yield Progress(done, total, "steps", f"simulating {which}", **spent._asdict())
    publish(study.id, "latents")
    _queue_rewrites(session, job, study, simulator, len(explanations), "last")


def _clear(
    session: Session, job: Job, simulator: Simulator, explanations: list[Explanation]
) -> None:
    """Forget what a simulator made of explanations, so that it is asked again."""
    ids = [explanation.id for explanation in explanations]
    for table in (Simulation, Score, LatentCost):
        session.execute(
            delete(table).where(table.explanation_id.in_(ids), table.simulator_id == simulator.id)
        )
    job.params = {**job.params, "cleared": True}
    session.commit()


class Spent(NamedTuple):
    """What a unit of work came to."""

    missing: int = 0
    tokens_read: int = 0
    tokens_written: int = 0

    @classmethod
    def on(cls, simulations: Sequence[Simulation]) -> "Spent":
        return cls(
            sum(s.missing for s in simulations),
            sum(s.tokens_read for s in simulations),
            sum(s.tokens_written for s in simulations),
        )


def _blocks(explanations: int, costed: int, size: int) -> Iterator[tuple[int, int]]:
    """Those whose costs are measured come one by one, since that takes seconds for each."""
    yield from ((i, i + 1) for i in range(costed))
    for start in range(costed, explanations, size):
        yield start, min(start + size, explanations)


def _block(session: Session, explanations: list[Explanation]) -> Block:
    rows = session.scalars(select(Latent).where(Latent.id.in_([e.latent_id for e in explanations])))
    latents = {latent.id: latent for latent in rows}
    return Block(explanations, [latents[e.latent_id] for e in explanations])


def _lacking(
    session: Session, block: Block, simulator: Simulator, context_set: ContextSet
) -> Block:
    """Those of a block that are not simulated on a set of contexts yet."""
    there = set(
        session.scalars(
            select(Simulation.explanation_id).where(
                Simulation.explanation_id.in_([e.id for e in block.explanations]),
                Simulation.simulator_id == simulator.id,
                Simulation.set == str(context_set),
            )
        )
    )
    pairs = zip(block.explanations, block.latents, strict=True)
    left = [(e, latent) for e, latent in pairs if e.id not in there]
    return Block([e for e, _ in left], [latent for _, latent in left])


def _simulate(
    session: Session,
    study: Study,
    simulator: Simulator,
    block: Block,
    context_set: ContextSet,
    text: Text,
) -> list[Simulation]:
    """Simulate a block's explanations on the same contexts. Nothing is saved."""
    asks = [
        Ask(explanation.text, score_so_far(session, explanation, simulator), latent.index)
        for explanation, latent in zip(block.explanations, block.latents, strict=True)
    ]
    simulated = simulator_of(simulator, study).simulate(
        asks, text.strings, first_position=first_position(study)
    )
    return [
        Simulation(
            explanation_id=explanation.id,
            simulator_id=simulator.id,
            set=str(context_set),
            context_ids=text.ids,
            values=found.values,
            missing=found.missing,
            failures=found.failures,
            tokens_read=found.tokens_read,
            tokens_written=found.tokens_written,
            seconds=found.seconds,
            code_version=code_version(),
        )
        for explanation, found in zip(block.explanations, simulated, strict=True)
    ]


def _simulator(session: Session, job: Job, study: Study) -> Simulator:
    simulator_id = job.params.get("simulator_id") or study.simulator_id
    simulator = session.get(Simulator, simulator_id) if simulator_id else None
    if simulator is None:
        raise InputError("This study has no simulator yet. Run its collect job first.")
    return simulator


def _explanations(session: Session, job: Job, study: Study) -> list[Explanation]:
    """The explanations that the job names, or the current ones of the first latents.

    First come the latents that words predict best and that fire on enough tokens. Before anything
    is simulated, the best guess at that is how well the words of their lexical explanation tell
    where they are active: the F1 of its coverage and its precision.
    """
    if ids := job.params.get("explanation_ids"):
        found = {
            e.id: e for e in session.scalars(select(Explanation).where(Explanation.id.in_(ids)))
        }
        if unknown := [i for i in ids if i not in found]:
            raise InputError(f"There is no explanation {unknown[0]}.")
        return [found[i] for i in ids]
    lexical = aliased(Explanation)
    coverage = lexical.details["coverage"].as_float()
    precision = lexical.details["precision"].as_float()
    f1 = func.max(2 * coverage * precision / func.nullif(coverage + precision, 0))
    best = (
        select(Explanation)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .outerjoin(lexical, (lexical.latent_id == Latent.id) & (lexical.author == "lexical"))
        .where(Latent.study_id == study.id)
        .group_by(Explanation.id, Latent.id)
        .order_by((Latent.firing_rate >= MIN_RATE).desc(), f1.desc().nulls_last(), Latent.index)
        .limit(int(job.params.get("first_latents", 0)))
    )
    explanations = list(session.scalars(best))
    if not explanations:
        raise InputError("There is no explanation to simulate. Run the explain job first.")
    # The list is kept with the job, so that a retry goes on with the same latents.
    job.params = {**job.params, "explanation_ids": [e.id for e in explanations]}
    session.commit()
    return explanations


def score_so_far(session: Session, explanation: Explanation, simulator: Simulator) -> float | None:
    """What a simulator that asks for it is told of an explanation: its newest correlation under
    another simulator."""
    if not simulator.options.get("show_score"):
        return None
    return session.scalar(
        select(Score.value)
        .where(
            Score.explanation_id == explanation.id,
            Score.simulator_id != simulator.id,
            Score.name == "correlation",
        )
        .order_by(Score.id.desc())
        .limit(1)
    )


def _examples_and_scores(
    session: Session, study: Study, simulator: Simulator, block: Block
) -> Spent | None:
    """Simulate the calibrate set and the latents' examples; calibrate and score.

    Returns:
        None if all of this was there already.
    """
    block = _lacking(session, block, simulator, ContextSet.CALIBRATE)
    if not block.explanations:
        return None
    text = Text(*context_strings(session, study, ContextSet.CALIBRATE))
    if few := simulator.options.get("calibrate_contexts"):
        text = Text(text.ids[:few], text.strings[:few])
    shown = [_examples(session, latent) for latent in block.latents]
    if len(block.explanations) == 1:
        # One pass, as every pass reads the explanation anew.
        together = Text(text.ids + shown[0].ids, text.strings + shown[0].strings)
        (whole,) = _simulate(session, study, simulator, block, ContextSet.CALIBRATE, together)
        calibrating, explaining = _split(whole, len(text.ids), first_position(study))
        made = [calibrating]
        examples = [explaining] if shown[0].ids else []
    else:
        made = _simulate(session, study, simulator, block, ContextSet.CALIBRATE, text)
        examples = [
            simulation
            for explanation, latent, own in zip(*block, shown, strict=True)
            if own.ids
            for simulation in _simulate(
                session,
                study,
                simulator,
                Block([explanation], [latent]),
                ContextSet.EXPLAIN,
                own,
            )
        ]
    session.add_all([*made, *examples])
    session.flush()
    for latent, simulation in zip(block.latents, made, strict=True):
        scores.calibrate_and_score(session, study, latent, simulation)
    return Spent.on([*made, *examples])


def _examples(session: Session, latent: Latent) -> Text:
    rows = session.execute(
        select(Context.id, Context.strings)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id)
        .order_by(Example.kind, Example.rank)
    ).all()
    return Text([row.id for row in rows], [row.strings for row in rows])


def _split(simulation: Simulation, calibrating: int, first: int) -> tuple[Simulation, Simulation]:
    """One pass of the simulator as two rows: the calibrate set, and the latent's examples.

    Time and tokens are shared out by contexts, reasons for missing values by missing values.
    """
    parts = []
    contexts = len(simulation.context_ids)
    for context_set, rows in (
        (ContextSet.CALIBRATE, slice(0, calibrating)),
        (ContextSet.EXPLAIN, slice(calibrating, None)),
    ):
        ids, values = simulation.context_ids[rows], simulation.values[rows]
        share = len(ids) / contexts
        missing = int(np.isnan(values[:, first:]).sum())
        parts.append(
            Simulation(
                explanation_id=simulation.explanation_id,
                simulator_id=simulation.simulator_id,
                set=str(context_set),
                context_ids=ids,
                values=values,
                missing=missing,
                failures={
                    reason: round(number * missing / simulation.missing)
                    for reason, number in simulation.failures.items()
                    if missing
                },
                tokens_read=round(simulation.tokens_read * share),
                tokens_written=round(simulation.tokens_written * share),
                seconds=simulation.seconds * share,
                code_version=simulation.code_version,
            )
        )
    return parts[0], parts[1]


def _evaluate(session: Session, study: Study, simulator: Simulator, block: Block) -> Spent | None:
    """Simulate the contexts of the evaluate set on which the whole layer is rewritten; and if it
    is one explanation, those more that its cost alone is measured on.

    Returns:
        None if all of this was there already.
    """
    block = _lacking(session, block, simulator, ContextSet.EVALUATE)
    if not block.explanations:
        return None
    ids, strings = context_strings(session, study, ContextSet.EVALUATE)
    rows = list(range(study.contexts_rewrite))
    if len(block.latents) == 1:
        rows = costs.contexts_to_simulate(study, block.latents[0])
    text = Text([ids[row] for row in rows], [strings[row] for row in rows])
    made = _simulate(session, study, simulator, block, ContextSet.EVALUATE, text)
    session.add_all(made)
    return Spent.on(made)


def _costs(session: Session, study: Study, simulator: Simulator, block: Block) -> Spent | None:
    """Measure what rewriting each latent alone costs.

    Returns:
        None if it was measured already, or cannot be: every value is missing.
    """
    made = False
    for explanation, latent in zip(*block, strict=True):
        measured = select(LatentCost.id).filter_by(
            explanation_id=explanation.id, simulator_id=simulator.id
        )
        if session.scalar(measured.limit(1)) is not None:
            continue
        if not calibrations_of(session, [explanation.id], simulator.id)[explanation.id]:
            continue
        simulation = session.scalars(
            select(Simulation).filter_by(
                explanation_id=explanation.id,
                simulator_id=simulator.id,
                set=str(ContextSet.EVALUATE),
            )
        ).one()
        if np.isnan(simulation.values[:, first_position(study) :]).all():
            continue  # nothing would be rewritten, which costs nothing and says nothing
        costs.measure(session, study, latent, simulation)
        made = True
    return Spent() if made else None


def _queue_rewrites(
    session: Session, job: Job, study: Study, simulator: Simulator, explanations: int, when: str
) -> None:
    """Measure the layer again under both protocols, if the job asks for it, once each time.

    After an edit the newest rewrites are repeated; after many latents all are ordered anew.
    """
    queued = job.params.get("queued", [])
    if not job.params.get("then_rewrite") or when in queued:
        return
    job.params = {**job.params, "queued": [*queued, when]}
    repeat = explanations < EARLY
    rewrites = [
        Job(
            study_id=study.id,
            kind="rewrite",
            params={"protocol": str(protocol), "simulator_id": simulator.id, "repeat": repeat},
            created_by=job.created_by,
        )
        for protocol in Protocol
    ]
    # The first commit saves all of them, so a worker that is killed after it loses none.
    session.add_all(rewrites)
    for rewrite in rewrites:
        submit(session, rewrite)
        if repeat:
            # It takes the current explanations when it begins, so it does what earlier ones would.
            supersede(session, rewrite)
