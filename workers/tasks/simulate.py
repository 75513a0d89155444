"""Simulate explanations, calibrate and score them, and measure what each costs alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp import calibrate
from interp.contexts import ContextSet
from interp.errors import InputError
from interp.evaluate import Protocol
from interp.scores import score
from models import (
    Calibration,
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
from workers.queue import publish, submit
from workers.resources import real_activations, simulator_of
from workers.tasks import costs
from workers.tasks.rows import (
    calibrations_of,
    context_strings,
    documents_of,
    fields,
    first_position,
    from_nullable,
    to_nullable,
)
from workers.version import code_version

MIN_RATE = 0.01
"""The first latents are chosen among those that fire on at least this share of tokens: a rarer one
is active on so few tokens of the calibrate and evaluate sets that little could be said about it."""
EARLY = 8
"""A longer job has the layer measured after so many latents too: something to see meanwhile."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Simulate some explanations; then queue the rewrite job if it is asked for."""
    simulator = _simulator(session, job, study)
    explanations = _explanations(session, job, study)
    steps = (_examples_and_scores, _evaluate_and_cost)
    total = len(explanations) * len(steps)
    for number, explanation in enumerate(explanations):
        if number == EARLY:
            _queue_rewrites(session, job, study, simulator, len(explanations), "early")
        latent = session.get_one(Latent, explanation.latent_id)
        for step, work in enumerate(steps):
            missing = work(session, study, simulator, latent, explanation)
            if missing is None:
                continue
            publish(study.id, "latent", latent.id)
            done = number * len(steps) + step + 1
            yield Progress(done, total, "steps", f"simulating latent {latent.index}", missing)
    publish(study.id, "latents")
    _queue_rewrites(session, job, study, simulator, len(explanations), "last")


def _simulator(session: Session, job: Job, study: Study) -> Simulator:
    simulator_id = job.params.get("simulator_id") or study.simulator_id
    simulator = session.get(Simulator, simulator_id) if simulator_id else None
    if simulator is None:
        raise InputError("This study has no simulator yet. Run its collect job first.")
    return simulator


def _explanations(session: Session, job: Job, study: Study) -> list[Explanation]:
    """The explanations that the job names, or those of the latents that words predict best.

    Before anything is simulated, the best guess at a good explanation is how well the words it
    names tell where the latent is active: the F1 of their coverage and their precision.
    """
    if ids := job.params.get("explanation_ids"):
        found = {
            e.id: e for e in session.scalars(select(Explanation).where(Explanation.id.in_(ids)))
        }
        if unknown := [i for i in ids if i not in found]:
            raise InputError(f"There is no explanation {unknown[0]}.")
        return [found[i] for i in ids]
    coverage = Explanation.details["coverage"].as_float()
    precision = Explanation.details["precision"].as_float()
    f1 = 2 * coverage * precision / (coverage + precision)
    best = (
        select(Explanation)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .where(
            Latent.study_id == study.id, Latent.firing_rate >= MIN_RATE, coverage + precision > 0
        )
        .order_by(f1.desc(), Latent.index)
        .limit(int(job.params.get("first_latents", 0)))
    )
    explanations = list(session.scalars(best))
    if not explanations:
        raise InputError("There is no explanation to simulate. Run the explain job first.")
    # The list is kept with the job, so that a retry goes on with the same latents.
    job.params = {**job.params, "explanation_ids": [e.id for e in explanations]}
    session.commit()
    return explanations


def _simulation(
    session: Session, explanation: Explanation, simulator: Simulator, context_set: ContextSet
) -> Simulation | None:
    return session.scalar(
        select(Simulation).filter_by(
            explanation_id=explanation.id, simulator_id=simulator.id, set=str(context_set)
        )
    )


def _simulate(
    study: Study,
    simulator: Simulator,
    explanation: Explanation,
    context_set: ContextSet,
    ids: list[int],
    strings: list[list[str]],
) -> Simulation:
    simulated = simulator_of(simulator).simulate(
        explanation.text, strings, first_position=first_position(study)
    )
    return Simulation(
        explanation_id=explanation.id,
        simulator_id=simulator.id,
        set=str(context_set),
        context_ids=ids,
        values=to_nullable(simulated.values),
        missing=simulated.missing,
        tokens_read=simulated.tokens_read,
        seconds=simulated.seconds,
        code_version=code_version(),
    )


def _examples_and_scores(
    session: Session, study: Study, simulator: Simulator, latent: Latent, explanation: Explanation
) -> int | None:
    """Simulate the latent's examples and the calibrate set; calibrate and score.

    Returns:
        How many values are missing; None if all of this was there already.
    """
    if _simulation(session, explanation, simulator, ContextSet.CALIBRATE) is not None:
        return None
    examples = session.execute(
        select(Context.id, Context.strings)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id)
        .order_by(Example.kind, Example.rank)
    ).all()
    ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
    everything = _simulate(
        study,
        simulator,
        explanation,
        ContextSet.CALIBRATE,
        [*ids, *(e.id for e in examples)],
        [*strings, *(e.strings for e in examples)],
    )
    calibrating, shown = _split(everything, len(ids), first_position(study))
    session.add_all([calibrating, *([shown] if examples else [])])
    session.flush()
    real = real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids))
    _calibrate(session, study, calibrating, real, latent.max_activation)
    _score(session, study, calibrating, real)
    session.commit()
    return everything.missing


def _split(simulation: Simulation, calibrating: int, first: int) -> tuple[Simulation, Simulation]:
    """One pass of the simulator as two rows: the calibrate set, and the latent's examples.

    Time and tokens are shared out by contexts.
    """
    parts = []
    contexts = len(simulation.context_ids)
    for context_set, rows in (
        (ContextSet.CALIBRATE, slice(0, calibrating)),
        (ContextSet.EXPLAIN, slice(calibrating, None)),
    ):
        ids, values = simulation.context_ids[rows], simulation.values[rows]
        share = len(ids) / contexts
        parts.append(
            Simulation(
                explanation_id=simulation.explanation_id,
                simulator_id=simulation.simulator_id,
                set=str(context_set),
                context_ids=ids,
                values=values,
                missing=sum(value is None for row in values for value in row[first:]),
                tokens_read=round(simulation.tokens_read * share),
                seconds=simulation.seconds * share,
                code_version=simulation.code_version,
            )
        )
    return parts[0], parts[1]


def _calibrate(
    session: Session,
    study: Study,
    simulation: Simulation,
    real: NDArray[np.float32],
    maximum: float,
) -> None:
    start = first_position(study)
    raw = from_nullable(simulation.values)[:, start:].ravel()
    if np.isnan(raw).all():
        return
    for method in calibrate.Method:
        fitted = calibrate.fit(method, raw, real[:, start:].ravel(), maximum=maximum)
        session.add(
            Calibration(
                simulation_id=simulation.id,
                method=str(method),
                x=fitted.x.tolist(),
                y=fitted.y.tolist(),
                tokens=int((~np.isnan(raw)).sum()),
            )
        )


def _score(
    session: Session, study: Study, simulation: Simulation, real: NDArray[np.float32]
) -> None:
    start = first_position(study)
    scores = score(
        from_nullable(simulation.values)[:, start:],
        real[:, start:],
        documents_of(session, simulation.context_ids),
        seed=study.seed,
    )
    for name in ("correlation", "sensitivity", "specificity"):
        value, low, high = fields(getattr(scores, name)).values()
        session.add(
            Score(
                explanation_id=simulation.explanation_id,
                simulator_id=simulation.simulator_id,
                name=name,
                value=value,
                low=low,
                high=high,
                n=scores.tokens,
                details={"active": scores.active},
            )
        )


def _evaluate_and_cost(
    session: Session, study: Study, simulator: Simulator, latent: Latent, explanation: Explanation
) -> int | None:
    """Simulate the evaluate set, and measure what rewriting this latent alone costs.

    Returns:
        How many values are missing; None if all of this was there already.
    """
    simulation = _simulation(session, explanation, simulator, ContextSet.EVALUATE)
    measured = select(LatentCost.id).filter_by(
        explanation_id=explanation.id, simulator_id=simulator.id
    )
    if simulation is not None and (
        session.scalar(measured.limit(1)) is not None
        or not calibrations_of(session, [explanation.id], simulator.id)[explanation.id]
    ):
        return None
    if simulation is None:
        ids, strings = context_strings(session, study, ContextSet.EVALUATE)
        rows = costs.contexts_to_simulate(study, latent)
        simulation = _simulate(
            study,
            simulator,
            explanation,
            ContextSet.EVALUATE,
            [ids[row] for row in rows],
            [strings[row] for row in rows],
        )
        session.add(simulation)
    costs.measure(session, study, latent, simulation)
    session.commit()
    return simulation.missing


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
    for protocol in Protocol:
        params = {
            "protocol": str(protocol),
            "simulator_id": simulator.id,
            "repeat": explanations < EARLY,
        }
        submit(
            session,
            Job(study_id=study.id, kind="rewrite", params=params, created_by=job.created_by),
        )
