"""Explaining latents and simulating explanations: which ones, the estimated usage, and the job."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.jobs.queries import explanations_of, simulator_of
from app.services.latents.filters import matching
from app.services.simulators.checked import checked
from app.services.simulators.queries import get_simulator
from app.services.work import estimates
from app.services.work.schemas import (
    EstimateOut,
    ExplainCreate,
    ScoreCreate,
    Selection,
    SimulateCreate,
    Simulating,
)
from jobs.params import ExplainParams, LanguageModel, ScoreParams, SimulateParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Explanation, Job, Latent, Simulation, Simulator, Study
from models.base import among

MEASURED_ALONE = 32
"""The default number of latents to measure individually."""


def estimate_simulate(session: Session, study: Study, data: SimulateCreate) -> EstimateOut:
    """Estimate the usage of simulating explanations.

    Raises:
        NotFound, Conflict: As :func:`simulate`.
    """
    simulator = _simulator(session, study, data)
    ids = explanations(session, study, data, data.author)
    estimate = estimates.of_simulations(
        session, study, simulator, ids, measured_alone(data, len(ids))
    )
    return EstimateOut(**estimate.model_dump())


def simulate(session: Session, study: Study, data: SimulateCreate, user: str) -> Job:
    """Queue the simulation of explanations. Commits the session.

    Raises:
        NotFound: There is no such simulator or latent.
        Conflict: The study has no simulator yet, or nothing that could be simulated.
    """
    simulator = _simulator(session, study, data)
    ids = explanations(session, study, data, data.author)
    measured = measured_alone(data, len(ids))
    order = SimulateParams(
        explanation_ids=tuple(ids),
        simulator_id=simulator.id,
        individually=measured,
        then_rewrite=data.then_rewrite,
        author=data.author,
        estimate=estimates.of_simulations(session, study, simulator, ids, measured),
    )
    return enqueue(session, study, order, by=user)


def simulate_first(session: Session, study: Study, first: int, data: Simulating, user: str) -> Job:
    """Queue the simulation of the latents that words predict best; the worker chooses them.
    Commits the session.

    Raises:
        NotFound, Conflict: As :func:`simulate`.
    """
    simulator = _simulator(session, study, data)
    measured = measured_alone(data, first)
    order = SimulateParams(
        first_latents=first,
        simulator_id=simulator.id,
        individually=measured,
        then_rewrite=data.then_rewrite,
        estimate=estimates.of_new_simulations(session, study, simulator, first, measured),
    )
    return enqueue(session, study, order, by=user)


def simulate_missing(session: Session, study: Study, data: SimulateCreate, user: str) -> Job:
    """Queue the explanations again of which simulated values are missing. Commits the session.

    Raises:
        NotFound: There is no such simulator or latent.
        Conflict: Nothing is missing.
    """
    simulator = _simulator(session, study, data)
    ids = _with_missing(session, simulator, explanations(session, study, data, data.author))
    if not ids:
        raise Conflict("No simulated value of these explanations is missing.")
    return _again(session, study, simulator, ids, data, user)


def estimate_explain(session: Session, study: Study, data: ExplainCreate) -> EstimateOut:
    """Estimate the usage of explaining latents, and of simulating them afterwards if requested.

    Raises:
        NotFound, Conflict: As :func:`explain`.
    """
    latents = len(live_latents(session, study, data))
    then = None
    if data.then_simulate is not None:
        simulator = _simulator(session, study, data.then_simulate)
        measured = measured_alone(data.then_simulate, latents)
        then = estimates.of_new_simulations(session, study, simulator, latents, measured)
    return EstimateOut(
        **estimates.of_explanations(session, data, latents).model_dump(), then_simulate=then
    )


def explain(session: Session, study: Study, data: ExplainCreate, user: str) -> Job:
    """Queue the explanation of latents. Commits the session.

    Raises:
        NotFound: There is no such simulator or latent.
        Conflict: There is no latent to explain, or no simulator to simulate with.
        FieldErrors: There is no such language model.
    """
    latents = live_latents(session, study, data)
    estimate = estimate_explain(session, study, data)
    asked: dict[str, Any] = {"method": data.method}
    if data.llm is not None:
        asked["llm"] = checked(data.llm).model_dump()
    if not data.all_latents:
        asked["latents"] = latents
    if data.then_simulate is not None:
        asked["then_simulate"] = SimulateParams(
            simulator_id=_simulator(session, study, data.then_simulate).id,
            individually=measured_alone(data.then_simulate, len(latents)),
            then_rewrite=data.then_simulate.then_rewrite,
            estimate=estimate.then_simulate,
        )
    asked["estimate"] = estimate.model_dump(exclude={"then_simulate"})
    return enqueue(session, study, ExplainParams.model_validate(asked), by=user)


def simulate_again(session: Session, job: Job, user: str) -> Job:
    """Queue again the explanations with missing values in a simulate job. Commits the session.

    Raises:
        Conflict: It waits or runs, is another kind of job, or nothing is missing.
    """
    if job.kind != "simulate" or job.status in ACTIVE:
        raise Conflict(f"Job {job.id} is no simulate job that has ended.")
    study = session.get_one(Study, job.study_id)
    simulator = get_simulator(session, simulator_of(job, study) or 0)
    ids = _with_missing(session, simulator, explanations_of(job))
    if not ids:
        raise Conflict(f"No value of job {job.id} is missing any more.")
    return _again(session, study, simulator, ids, Simulating(), user)


def _with_missing(session: Session, simulator: Simulator, ids: Sequence[int]) -> list[int]:
    """Those of some explanations of which simulated values are missing, in their order."""
    query = select(Simulation.explanation_id).where(
        among(Simulation.explanation_id, ids),
        Simulation.simulator_id == simulator.id,
        Simulation.missing > 0,
    )
    found = set(session.scalars(query))
    return [number for number in ids if number in found]


def _again(
    session: Session,
    study: Study,
    simulator: Simulator,
    ids: list[int],
    data: Simulating,
    user: str,
) -> Job:
    """Queue a job that simulates explanations anew."""
    measured = measured_alone(data, len(ids))
    order = SimulateParams(
        explanation_ids=tuple(ids),
        simulator_id=simulator.id,
        individually=measured,
        then_rewrite=data.then_rewrite,
        again=True,
        estimate=estimates.of_simulations(session, study, simulator, ids, measured, anew=True),
    )
    return enqueue(session, study, order, by=user)


def estimate_score(session: Session, study: Study, data: ScoreCreate) -> EstimateOut:
    """Estimate the usage of scoring explanations.

    Raises:
        NotFound, Conflict: As :func:`score`.
    """
    ids = explanations(session, study, data, data.author)
    return EstimateOut(**estimates.of_scoring(session, data, len(ids)).model_dump())


def score(session: Session, study: Study, data: ScoreCreate, user: str) -> Job:
    """Queue the scoring of explanations by a language model. Commits the session.

    Raises:
        NotFound: There is no such latent.
        Conflict: There is no explanation to score.
        FieldErrors: There is no such language model.
    """
    ids = explanations(session, study, data, data.author)
    order = ScoreParams(
        llm=LanguageModel(**checked(data.llm).model_dump()),
        explanation_ids=tuple(ids),
        estimate=estimates.of_scoring(session, data, len(ids)),
    )
    return enqueue(session, study, order, by=user)


def measured_alone(data: Simulating, explanations: int) -> int:
    """Number of latents to measure individually."""
    return min(MEASURED_ALONE if data.individually is None else data.individually, explanations)


def last_llm(session: Session) -> dict[str, Any]:
    """The language model that a job was last given, as the first guess for the next time."""
    query = select(Job.params["llm"]).where(Job.params.has_key("llm"))
    return session.scalar(query.order_by(Job.id.desc()).limit(1)) or {}


def live_latents(session: Session, study: Study, wanted: Selection) -> list[int]:
    """Indices of the latents that are meant and fire on the explain set.

    Raises:
        NotFound: There is no such latent.
        Conflict: There is none of them.
    """
    found = session.execute(
        _meant(select(Latent.index.label("number"), Latent.max_activation), study, wanted)
    ).all()
    _all_there(study, wanted, [row.number for row in found])
    live = [row.number for row in found if row.max_activation > 0]
    if not live:
        raise Conflict(
            f"No latent of study {study.slug} that is meant here fires on the explain set, so "
            "there is nothing to explain."
        )
    return live


def explanations(session: Session, study: Study, wanted: Selection, author: str = "") -> list[int]:
    """Explanations of the latents that are meant: the current ones, or the newest by an author.

    Raises:
        NotFound: There is no such latent.
        Conflict: There is no such explanation.
    """
    column: Any = Latent.explanation_id
    if author:
        column = (
            select(func.max(Explanation.id))
            .where(Explanation.latent_id == Latent.id, Explanation.author == author)
            .scalar_subquery()
        )
    found = session.execute(
        _meant(select(Latent.index.label("number"), column.label("explanation_id")), study, wanted)
    ).all()
    _all_there(study, wanted, [row.number for row in found])
    ids = [row.explanation_id for row in found if row.explanation_id is not None]
    if not ids:
        whose = f" by {author}" if author else ""
        raise Conflict(
            f"No latent of study {study.slug} that is meant here has an explanation{whose}, so "
            "there is nothing to simulate."
        )
    return ids


def _meant(
    query: Select[*tuple[Any, ...]], study: Study, wanted: Selection
) -> Select[*tuple[Any, ...]]:
    query = query.where(*matching(study, wanted))
    if wanted.latents is not None:
        query = query.where(among(Latent.index, wanted.latents))
    return query.order_by(Latent.index)


def _all_there(study: Study, wanted: Selection, found: Sequence[int]) -> None:
    missing = set(wanted.latents or ()) - set(found)
    if missing:
        matching_filter = " that matches the filter" if wanted.filter() else ""
        raise NotFound(f"There is no latent {min(missing)}{matching_filter} in study {study.slug}.")


def _simulator(session: Session, study: Study, data: Simulating) -> Simulator:
    simulator_id = data.simulator_id or study.simulator_id
    if simulator_id is None:
        raise Conflict(
            f"Study {study.slug} has no simulator yet: its activations are still being collected. "
            "Name a simulator, or wait for that job."
        )
    return get_simulator(session, simulator_id)
