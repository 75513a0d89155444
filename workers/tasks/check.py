"""Run the sanity checks on a study."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp import checks
from interp.checks import Result, Setting, Simulations
from interp.contexts import ContextSet
from interp.errors import InputError
from interp.evaluate import Protocol
from models import Check, Explanation, Job, Latent, Simulation, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import coder_of, real_activations, subject_of
from workers.tasks.rows import (
    context_tokens,
    documents_of,
    first_position,
    values_on,
)
from workers.version import code_version

EXACT = 8
"""Contexts on which two losses must be equal."""
DRAWN = 32
"""Contexts in each of two draws."""
SUBSTITUTES = 32
"""Latents that are rewritten where none is simulated yet: those that fire most."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Run every check that this job has not run yet."""
    planned = _checks(session, study)
    done = session.scalar(select(func.count()).where(Check.job_id == job.id)) or 0
    for number, check in enumerate(planned[done:], start=done + 1):
        result = check()
        session.add(
            Check(
                study_id=study.id,
                job_id=job.id,
                name=result.name,
                outcome=str(result.outcome),
                detail=result.detail,
                code_version=code_version(),
            )
        )
        session.commit()
        publish(study.id, "checks")
        yield Progress(number, len(planned), "checks", result.name)


def _checks(session: Session, study: Study) -> list[Callable[[], Result]]:
    ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
    if not ids:
        raise InputError("This study has no contexts yet. Run its collect job first.")
    simulated = session.execute(
        select(Latent.index.label("latent"), Simulation.explanation_id)
        .join(Explanation, Explanation.latent_id == Latent.id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .where(
            Latent.study_id == study.id,
            Latent.explanation_id == Explanation.id,
            Simulation.simulator_id == study.simulator_id,
            Simulation.set == str(ContextSet.EVALUATE),
        )
        .order_by(Latent.index)
    ).all()
    latents = [row.latent for row in simulated] or list(
        session.scalars(
            select(Latent.index)
            .where(Latent.study_id == study.id)
            .order_by(Latent.firing_rate.desc())
            .limit(SUBSTITUTES)
        )
    )
    everything = Setting(subject_of(study), coder_of(study), tokens, first_position(study), latents)
    few = everything._replace(tokens=tokens[:EXACT])
    panel = everything._replace(tokens=tokens[: study.contexts_rewrite])
    panel_ids = ids[: study.contexts_rewrite]
    return [
        partial(checks.real_latents_are_the_coder, few),
        partial(checks.an_oracle_recovers_everything, few),
        partial(checks.zero_answers_are_the_set_zeroed, few),
        partial(checks.order_changes_nothing, few),
        partial(
            checks.two_draws_agree,
            everything,
            documents_of(session, ids),
            contexts=DRAWN,
            seed=study.seed,
        ),
        lambda: checks.permuted_explanations_are_worse(
            panel._replace(latents=[row.latent for row in simulated]),
            _simulations(
                session, study, [(row.latent, row.explanation_id) for row in simulated], panel_ids
            ),
            documents_of(session, panel_ids),
            seed=study.seed,
        ),
    ]


def _simulations(
    session: Session, study: Study, explanations: list[tuple[int, int]], panel: list[int]
) -> Simulations:
    """Raw and real values of these latents' explanations.

    Args:
        explanations: Index of each latent, and its explanation.
        panel: The contexts of the evaluate set that are wanted.
    """
    start = first_position(study)
    where = Protocol.WHOLE.spliced(study.context_length, start)
    calibrate_raw, calibrate_real, evaluate_raw = [], [], []
    for index, explanation_id in explanations:
        rows = session.scalars(
            select(Simulation).filter_by(
                explanation_id=explanation_id, simulator_id=study.simulator_id
            )
        )
        by_set = {row.set: row for row in rows}
        calibrate = by_set[str(ContextSet.CALIBRATE)]
        calibrate_raw.append(calibrate.values[:, start:].ravel())
        contexts = len(calibrate.context_ids)
        real = real_activations(study, index, ContextSet.CALIBRATE, contexts)
        calibrate_real.append(real[:, start:].ravel())
        evaluate_raw.append(values_on(by_set[str(ContextSet.EVALUATE)], panel)[:, where])
    return Simulations(np.array(calibrate_raw), np.array(calibrate_real), np.array(evaluate_raw))
