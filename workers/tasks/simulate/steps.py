"""The steps for the explanations of one unit: simulate, calibrate, score, measure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from interp.simulate.protocol import Ask, ReadsAhead
from interp.vocabulary import ContextSet
from models import (
    Context,
    Example,
    Explanation,
    Latent,
    Score,
    Simulation,
    Simulator,
    Study,
)
from workers.copying import copy_in
from workers.resources import simulator_of
from workers.task import Done
from workers.tasks.rows import calibrations_of, context_strings
from workers.tasks.simulate import loss_effects, scores
from workers.version import code_version


class Text(NamedTuple):
    """Contexts to simulate on."""

    ids: list[int]
    strings: list[list[str]]


class Block(NamedTuple):
    """Explanations that are simulated together, with their latents."""

    explanations: list[Explanation]
    latents: list[Latent]
    following: Sequence[Ask] = ()
    """What comes after it, and may be read with it."""

    def pairs(self) -> Iterator[tuple[Explanation, Latent]]:
        """Each explanation with its latent."""
        return zip(self.explanations, self.latents, strict=True)


def _spent(simulations: list[Simulation]) -> Done:
    return Done(
        missing=sum(s.missing for s in simulations),
        tokens_read=sum(s.tokens_read for s in simulations),
        tokens_written=sum(s.tokens_written for s in simulations),
    )


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
    left = [(e, latent) for e, latent in block.pairs() if e.id not in there]
    return Block([e for e, _ in left], [latent for _, latent in left])


def simulated(
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
        for explanation, latent in block.pairs()
    ]
    simulated = simulator_of(simulator, study).simulate(
        asks, text.strings, first_position=study.first_position
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


def score_so_far(session: Session, explanation: Explanation, simulator: Simulator) -> float | None:
    """The score of an explanation, for a simulator that asks for it: its newest correlation under
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


def examples_and_scores(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Simulate the calibrate set and the examples of one latent, then calibrate and score.

    A job of many that was cancelled may have simulated it and not scored it.
    """
    if not _lacking(session, block, simulator, ContextSet.CALIBRATE).explanations:
        done = examples(session, study, simulator, block)
        scores_of_block(session, study, simulator, block)
        return done
    text = calibrating(session, study, simulator)
    shown = _examples(session, block.latents[0])
    # One pass, as every pass of some simulators reads the explanation anew.
    together = Text(text.ids + shown.ids, text.strings + shown.strings)
    (whole,) = simulated(session, study, simulator, block, ContextSet.CALIBRATE, together)
    first, explaining = _split(whole, len(text.ids), study.first_position)
    made = [first, explaining] if shown.ids else [first]
    copy_in(session, made)
    against = scores.Block.of(session, study, block.latents, [first])
    scores.calibrate(session, against)
    scores.score(session, against)
    return _spent(made)


def values_of_block(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Simulate a block on the calibrate and the evaluate set, and calibrate it: what a rewriting of
    the layer needs."""
    loaded = simulator_of(simulator, study)
    if isinstance(loaded, ReadsAhead):
        asks = [Ask(one.text, None, latent.index) for one, latent in block.pairs()]
        loaded.read_ahead(asks, block.following)
    lacking = _lacking(session, block, simulator, ContextSet.CALIBRATE)
    if lacking.explanations:
        text = calibrating(session, study, simulator)
        made = simulated(session, study, simulator, lacking, ContextSet.CALIBRATE, text)
        copy_in(session, made)
        scores.calibrate(session, scores.Block.of(session, study, lacking.latents, made))
    else:
        made = []
    lacking = _lacking(session, block, simulator, ContextSet.EVALUATE)
    if lacking.explanations:
        text = evaluating(session, study, range(study.contexts_rewrite))
        evaluated = simulated(session, study, simulator, lacking, ContextSet.EVALUATE, text)
        copy_in(session, evaluated)
        made += evaluated
    return _spent(made)


def scores_of_block(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Score a block by its stored values."""
    latents = {explanation.id: latent for explanation, latent in block.pairs()}
    unscored = select(Simulation).where(
        Simulation.explanation_id.in_(latents),
        Simulation.simulator_id == simulator.id,
        Simulation.set == str(ContextSet.CALIBRATE),
        ~exists().where(
            Score.explanation_id == Simulation.explanation_id, Score.simulator_id == simulator.id
        ),
    )
    stored = session.scalars(unscored.order_by(Simulation.explanation_id)).all()
    if stored:
        of = [latents[simulation.explanation_id] for simulation in stored]
        scores.score(session, scores.Block.of(session, study, of, stored))
    return Done()


def examples(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Simulate each explanation of a block on the examples of its latent."""
    block = _lacking(session, block, simulator, ContextSet.EXPLAIN)
    made = [
        simulation
        for explanation, latent in block.pairs()
        if (own := _examples(session, latent)).ids
        for simulation in simulated(
            session, study, simulator, Block([explanation], [latent]), ContextSet.EXPLAIN, own
        )
    ]
    copy_in(session, made)
    return _spent(made)


def calibrating(session: Session, study: Study, simulator: Simulator) -> Text:
    """The contexts that a simulator is calibrated on."""
    text = Text(*context_strings(session, study, ContextSet.CALIBRATE))
    few = simulator.options.get("calibrate_contexts")
    return Text(text.ids[:few], text.strings[:few]) if few else text


def evaluating(session: Session, study: Study, rows: Sequence[int]) -> Text:
    """Some contexts of the evaluate set."""
    ids, strings = context_strings(session, study, ContextSet.EVALUATE)
    return Text([ids[row] for row in rows], [strings[row] for row in rows])


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


def evaluate(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Simulate one explanation on the contexts of the evaluate set on which the whole layer is
    rewritten, and on those that its loss effect is measured on."""
    block = _lacking(session, block, simulator, ContextSet.EVALUATE)
    if not block.explanations:
        return Done()
    rows = loss_effects.contexts_to_simulate(study, block.latents[0])
    text = evaluating(session, study, rows)
    made = simulated(session, study, simulator, block, ContextSet.EVALUATE, text)
    copy_in(session, made)
    return _spent(made)


def measure_loss_effects(
    session: Session, study: Study, simulator: Simulator, block: Block
) -> Done:
    """Measure what is lacking of the loss effect of each latent, unless all its simulated values
    are missing."""
    return _measure(session, study, simulator, block, loss_effects.ALL)


def measure_first(session: Session, study: Study, simulator: Simulator, block: Block) -> Done:
    """Measure of the loss effect what somebody waits for."""
    return _measure(session, study, simulator, block, loss_effects.FIRST)


def _measure(
    session: Session,
    study: Study,
    simulator: Simulator,
    block: Block,
    lines: Sequence[loss_effects.Line],
) -> Done:
    spent: list[Simulation] = []
    for explanation, latent in block.pairs():
        if not calibrations_of(session, [explanation.id], simulator.id)[explanation.id]:
            continue
        simulation = session.scalars(
            select(Simulation).filter_by(
                explanation_id=explanation.id,
                simulator_id=simulator.id,
                set=str(ContextSet.EVALUATE),
            )
        ).one()
        if np.isnan(simulation.values[:, study.first_position :]).all():
            continue  # nothing would be rewritten, which costs nothing and says nothing
        further = _further(session, study, simulator, explanation, latent, simulation)
        loss_effects.measure(session, study, latent, [simulation, *further], lines)
        spent += further
    return _spent(spent)


def _further(
    session: Session,
    study: Study,
    simulator: Simulator,
    explanation: Explanation,
    latent: Latent,
    simulation: Simulation,
) -> list[Simulation]:
    """The further contexts that a loss effect is measured on, simulated and not saved: the latents
    of a block are simulated on the same contexts."""
    there = set(simulation.context_ids)
    wanted = evaluating(session, study, loss_effects.contexts_to_simulate(study, latent))
    left = [(i, strings) for i, strings in zip(*wanted, strict=True) if i not in there]
    if not left:
        return []
    text = Text([i for i, _ in left], [strings for _, strings in left])
    one = Block([explanation], [latent])
    return simulated(session, study, simulator, one, ContextSet.EVALUATE, text)
