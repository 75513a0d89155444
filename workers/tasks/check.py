"""Run the sanity checks on a study."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.corpus.activations import StoreError
from interp.errors import InputError
from interp.rewriting import checks
from interp.rewriting.checks import Result, Setting, Simulations
from interp.vocabulary import ContextSet, Outcome, Protocol
from jobs.events import publish
from jobs.params import CheckParams
from models import Check as CheckRow
from models import Explanation, Job, Latent, Score, Simulation, Study
from workers.resources import coder_of, real_activations, store_of, subject_of
from workers.task import Done, Task, Unit
from workers.tasks.rows import (
    context_tokens,
    documents_of,
    values_on,
)
from workers.version import code_version

EXACT = 8
"""Contexts on which two losses must be equal."""
DRAWN = 32
"""Contexts in each of two draws."""
SUBSTITUTES = 32
"""Latents that are rewritten where none is simulated yet: those that fire most."""
SHOWN = 20
"""At most so many latents with false scores are named."""


class Check(Task):
    """Runs one check after another. Each is a unit."""

    counts = "checks"

    def __init__(self, asked: CheckParams) -> None:
        self.asked = asked
        self._checks: list[Callable[[], Result]] = []

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """See that there is something to check."""
        self._checks = _checks(session, study)

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The checks in their order."""
        done = self._done(session, job)
        return [Unit("check", i, i + 1, int(i < done)) for i in range(len(self._checks))]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Run one check, and keep its outcome."""
        if unit.start < self._done(session, job):
            return Done()
        result = self._checks[unit.start]()
        session.add(
            CheckRow(
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
        return Done(result.name)

    def _done(self, session: Session, job: Job) -> int:
        """The number of checks with an outcome: they are run in order."""
        return session.scalar(select(func.count()).where(CheckRow.job_id == job.id)) or 0


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
    if not latents:
        raise InputError("This study has no latents yet. Its collect job is still to end.")
    everything = Setting(subject_of(study), coder_of(study), tokens, study.first_position, latents)
    few = everything._replace(tokens=tokens[:EXACT])
    panel = everything._replace(tokens=tokens[: study.contexts_rewrite])
    panel_ids = ids[: study.contexts_rewrite]
    return [
        partial(_activations_are_whole, study),
        partial(_scores_are_of_these_activations, session, study),
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
        partial(
            _permuted,
            session,
            study,
            panel._replace(latents=[row.latent for row in simulated]),
            [row.explanation_id for row in simulated],
            panel_ids,
        ),
        partial(_explanations_are_read, session, study),
    ]


def _activations_are_whole(study: Study) -> Result:
    """Every shard that was collected is there, is the study's own, and holds what can be."""
    name = "the collected activations are whole"
    stores = [store_of(study, context_set) for context_set in ContextSet]
    try:
        for store in stores:
            store.verify()
    except StoreError as error:
        return Result(name, Outcome.FAILED, str(error))
    contexts = sum(store.contexts for store in stores)
    return Result(name, Outcome.PASSED, f"Activations on all {contexts:,} contexts are whole.")


def _scores_are_of_these_activations(session: Session, study: Study) -> Result:
    """Stored scores count as many active tokens as the activations that are kept.

    A score that was computed while activations were missing counts fewer.
    """
    name = "stored scores are of the collected activations"
    rows = session.execute(
        select(
            Latent.index.label("latent"),
            Simulation.context_ids,
            Simulation.values,
            Score.details,
        )
        .join(Explanation, Explanation.latent_id == Latent.id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .join(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == Simulation.simulator_id),
        )
        .where(
            Latent.study_id == study.id,
            Latent.explanation_id == Explanation.id,
            Simulation.simulator_id == study.simulator_id,
            Simulation.set == str(ContextSet.CALIBRATE),
            Score.name == "correlation",
        )
        .order_by(Latent.index)
        .execution_options(yield_per=64)
    )
    start, looked_at, false = study.first_position, 0, []
    try:
        for row in rows:
            real = real_activations(study, row.latent, ContextSet.CALIBRATE, len(row.context_ids))
            active = (real > 0) & ~np.isnan(row.values)
            looked_at += 1
            if int(active[:, start:].sum()) != row.details["active"]:
                false.append(row.latent)
    except StoreError as error:
        return Result(name, Outcome.CANNOT_TELL, str(error))
    if not looked_at:
        return Result(name, Outcome.CANNOT_TELL, "Nothing is scored yet.")
    if not false:
        detail = f"The scores of {looked_at:,} latents count the active tokens that are kept."
        return Result(name, Outcome.PASSED, detail)
    listed = ", ".join(map(str, false[:SHOWN])) + (" and others" if len(false) > SHOWN else "")
    return Result(
        name,
        Outcome.FAILED,
        f"The scores of {len(false):,} of {looked_at:,} latents were computed on other activations "
        f"than are kept: latents {listed}. These scores and loss effects are false. Save a new "
        "explanation for each: it is measured anew.",
    )


def _explanations_are_read(session: Session, study: Study) -> Result:
    rows = session.execute(
        select(Score.value, Score.details["random_baseline"].as_float().label("others"))
        .join(Latent, Latent.explanation_id == Score.explanation_id)
        .where(
            Latent.study_id == study.id,
            Score.simulator_id == study.simulator_id,
            Score.name == "correlation",
        )
        .order_by(Latent.index)
    ).all()
    own, others = (
        np.array([np.nan if value is None else value for value in column], dtype=float)
        for column in ([row.value for row in rows], [row.others for row in rows])
    )
    return checks.explanations_are_read(own, others, seed=study.seed)


def _permuted(
    session: Session, study: Study, setting: Setting, explanation_ids: list[int], panel: list[int]
) -> Result:
    explanations = list(zip(setting.latents, explanation_ids, strict=True))
    try:
        simulations = _simulations(session, study, explanations, panel)
    except StoreError as error:
        return Result(checks.PERMUTED, Outcome.CANNOT_TELL, str(error))
    documents = documents_of(session, panel)
    return checks.permuted_explanations_are_worse(setting, simulations, documents, seed=study.seed)


def _simulations(
    session: Session, study: Study, explanations: list[tuple[int, int]], panel: list[int]
) -> Simulations:
    """Raw and real values of these latents' explanations.

    Args:
        explanations: Index of each latent, and its explanation.
        panel: The contexts of the evaluate set that are wanted.
    """
    start = study.first_position
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
