"""The steps of a reproduction: what is done, what is left, and what that takes.

Nothing is noted beside the tables: a step is done if its rows are there. So the same command goes
on where an earlier one ended, whoever ended it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.reproductions.recipes import Recipe
from app.services.simulators.adding import add_simulator
from app.services.simulators.independence import assess
from app.services.simulators.missing import simulated_tokens
from app.services.simulators.schemas import SimulatorCreate
from app.services.simulators.shipped import shipped_for, shipped_simulator
from app.services.studies.queries import collect_jobs, create_study, use_simulator
from app.services.studies.schemas import StudyCreate
from app.services.work import estimates
from app.services.work.queries import explain, live_latents
from app.services.work.schemas import Estimate, ExplainCreate, Selection
from interp.coders.source import check_coder
from interp.errors import InputError
from interp.simulate.method import Prompted
from interp.simulate.registry import SIMULATORS
from interp.sources.corpora import located_corpus
from interp.sources.paths import located
from interp.vocabulary import ContextSet, Independence, Protocol, ScoreName
from jobs.params import RewriteParams, SimulateParams
from jobs.queue import enqueue, retry
from jobs.status import ACTIVE, STOPPED
from models import Job, Rewrite, Score, Simulation, Simulator, Study
from models.base import among

Queue = Callable[[Session, str], Job]
"""Queues the job of a step, in a person's name. Commits the session."""

FIXED = (
    "context_length",
    "prepend_bos",
    "leave_out",
    "contexts_explain",
    "contexts_calibrate",
    "contexts_evaluate",
    "contexts_rewrite",
    "seed",
)
"""Fields of a study that decide its figures, besides its sources."""


class Step(NamedTuple):
    """A step of a study: one job with those that follow it."""

    name: str
    done: bool
    queue: Queue
    tokens: int = 0
    """Tokens that the subject model reads, where a collection does so."""
    prompts: int | None = None
    """Prompts that are left; None where no language model is asked, or nobody knows."""
    estimate: Estimate | None = None
    """What is left of it; None where there is no estimate."""


class Plan(NamedTuple):
    """The steps of a study, in their order."""

    study: StudyCreate
    steps: list[Step]
    left_out: str
    """Why the shipped simulator is left out; empty where it is not."""


def find_study(session: Session, wanted: StudyCreate) -> Study | None:
    """The study of a recipe, if it is there.

    Raises:
        Conflict: There is one of this name that was made of other things.
    """
    study = session.scalar(select(Study).filter_by(slug=wanted.slug, deleted_at=None))
    if study is None:
        return None
    sources = {
        "model": located(wanted.model),
        "model_revision": wanted.model_revision,
        "dtype": wanted.dtype,
        "coder": located(wanted.coder),
        "corpus": located_corpus(wanted.corpus),
    }
    expected = sources | {name: getattr(wanted, name) for name in FIXED}
    for name, value in expected.items():
        if (there := getattr(study, name)) != value:
            raise Conflict(
                f"Study {study.slug} is there with another {name}: {there}, not {value}. Delete it "
                f"with `palimpsest study delete {study.slug}`, or give the same {name}."
            )
    return study


def active_jobs(session: Session, study: Study) -> Sequence[Job]:
    """The jobs of a study that wait or run."""
    query = select(Job).where(Job.study_id == study.id, Job.status.in_(ACTIVE)).order_by(Job.id)
    return session.scalars(query).all()


def plan(session: Session, recipe: Recipe, wanted: StudyCreate) -> Plan:
    """The steps of one study. Nothing is changed.

    Raises:
        Conflict: There is another study of its name.
    """
    there = find_study(session, wanted)
    study = there or Study(**wanted.model_dump(exclude={"first_latents", "until"}), coder_info={})
    collect = _collect(session, there, study, wanted, recipe)
    explanations = _explanations(session, study, recipe) if collect.done else None
    latents = _count(session, study, wanted, recipe, collected=collect.done)
    finished = explanations is not None and explanations.status == "finished"
    ids = explanations.state.get("explained", []) if explanations and finished else None
    steps = [collect, _explain(session, study, recipe, explanations, latents)]
    steps += _simulated(session, study, recipe, recipe.simulator, ids, latents)
    left_out = ""
    if recipe.beside:
        left_out = _left_out(session, study)
        if not left_out:
            steps += _simulated(session, study, recipe, None, ids, latents)
    return Plan(wanted, steps, left_out)


def simulators(session: Session, recipe: Recipe, study: Study) -> list[Simulator]:
    """The simulators of a study that are there: the published one first."""
    found = [simulator_of(session, study, recipe.simulator)]
    if recipe.beside and not _left_out(session, study):
        found.append(simulator_of(session, study, None))
    return [one for one in found if one.id is not None]


def simulator_of(session: Session, study: Study, data: SimulatorCreate | None) -> Simulator:
    """A simulator as it is in the table, or one that is in no table yet.

    Args:
        data: None for the shipped one.
    """
    if data is None:
        shipped = shipped_for(study.model)
        if shipped.has_base():
            return shipped_simulator(session, study.model)
        return Simulator(method="two_tower", model=shipped.base, prompt_version="", options={})
    model = data.model if data.on_server else located(data.model)
    options = {
        **data.options,
        **data.model_dump(include={"calibrate_contexts", "show_score"}, exclude_defaults=True),
    }
    same = select(Simulator).filter_by(method=data.method, model=model, deleted_at=None)
    there = session.scalar(same.filter_by(options=options).order_by(Simulator.id.desc()).limit(1))
    return there or Simulator(method=data.method, model=model, prompt_version="", options=options)


def _collect(
    session: Session, there: Study | None, study: Study, wanted: StudyCreate, recipe: Recipe
) -> Step:
    job = collect_jobs(session, [there]).get(there.id) if there else None
    done = job is not None and job.status == "finished"

    def queue(session: Session, user: str) -> Job:
        if job is not None:
            return retry(session, session.get_one(Job, job.id))
        made = create_study(session, wanted, user)
        use_simulator(session, made, add_simulator(session, recipe.simulator).id)
        return collect_jobs(session, [made])[made.id]

    contexts = wanted.contexts_explain + wanted.contexts_calibrate + wanted.contexts_evaluate
    return Step("collect", done, queue, 0 if done else contexts * simulated_tokens(study))


def _chosen(session: Session, study: Study, recipe: Recipe) -> list[int] | None:
    """The latents to explain: a draw by the study's seed from those that fire. None for all."""
    live = live_latents(session, study, Selection())
    if recipe.latents is None or recipe.latents >= len(live):
        return None
    drawn = np.random.default_rng(study.seed).choice(live, recipe.latents, replace=False)
    return sorted(map(int, drawn))


def _asked(session: Session, study: Study, recipe: Recipe) -> ExplainCreate:
    latents = _chosen(session, study, recipe)
    return recipe.explainer.model_copy(update={"latents": latents})


def _explanations(session: Session, study: Study, recipe: Recipe) -> Job | None:
    """The newest explain job that a recipe asks for."""
    asked = _asked(session, study, recipe)
    assert asked.llm is not None
    model = asked.llm.model if asked.llm.on_server else located(asked.llm.model)
    llm = asked.llm.model_copy(update={"model": model}).model_dump()
    query = select(Job).where(Job.study_id == study.id, Job.kind == "explain")
    for job in session.scalars(query.order_by(Job.id.desc())):
        same = job.params.get("method") == asked.method and job.params.get("llm") == llm
        if same and job.params.get("latents") == asked.latents:
            return job
    return None


def _count(
    session: Session, study: Study, wanted: StudyCreate, recipe: Recipe, *, collected: bool
) -> int:
    """The number of latents to explain. Before the coder is here: as the recipe says."""
    if collected:
        latents = len(live_latents(session, study, Selection()))
    else:
        try:
            facts = check_coder(wanted.coder, wanted.hookpoint, None)
        except InputError:
            facts = None
        latents = (facts and facts.num_latents) or recipe.num_latents
    return min(latents, recipe.latents or latents)


def _explain(session: Session, study: Study, recipe: Recipe, job: Job | None, latents: int) -> Step:
    def queue(session: Session, user: str) -> Job:
        if job is not None and job.status in STOPPED:
            return retry(session, session.get_one(Job, job.id))
        here = session.get_one(Study, study.id)
        return explain(session, here, _asked(session, here, recipe), user)

    done = job is not None and job.status == "finished"
    explained = len(job.state.get("explained_latents", [])) if job is not None else 0
    left = 0 if done else latents - explained
    estimate = estimates.of_explanations(session, recipe.explainer, left)
    return Step("explain", done, queue, 0, left, estimate)


def _simulated(
    session: Session,
    study: Study,
    recipe: Recipe,
    data: SimulatorCreate | None,
    ids: list[int] | None,
    latents: int,
) -> list[Step]:
    """Simulate the explanations with one simulator, and rewrite under each protocol.

    Args:
        data: None for the shipped one.
        ids: The explanations, once they are there.
        latents: Their number until then.
    """
    simulator = simulator_of(session, study, data)
    lacking = None if ids is None else _lacking(session, simulator, ids)
    left = latents if lacking is None else len(lacking)
    estimate = (
        estimates.of_new_simulations(session, study, simulator, left, 0)
        if lacking is None
        else estimates.of_simulations(session, study, simulator, lacking, 0)
    )
    method, prompts = SIMULATORS.named(simulator.method), None
    if isinstance(method, Prompted):
        contexts = estimates.contexts_of(session, study, simulator)
        prompts = method.prompts(left, contexts=contexts, seq=simulated_tokens(study))

    def simulate(session: Session, user: str) -> Job:
        if not lacking:
            raise Conflict(
                f"No answer of the explainer is an explanation, so study {study.slug} has nothing "
                "to simulate. Its explain job says why."
            )
        order = SimulateParams(
            explanation_ids=tuple(lacking),
            simulator_id=_added(session, study, data).id,
            individually=0,
            estimate=estimate,
        )
        return enqueue(session, session.get_one(Study, study.id), order, by=user)

    done = bool(ids) and not lacking
    name = f"simulate: {simulator.method}"
    steps = [Step(name, done, simulate, 0, prompts, estimate)]
    for protocol in recipe.protocols:
        finished = done and newest_rewrite(session, study, simulator, protocol) is not None

        def rewrite(session: Session, user: str, protocol: Protocol = protocol) -> Job:
            order = RewriteParams(
                protocol=protocol, simulator_id=_added(session, study, data).id, repeat=False
            )
            return enqueue(session, session.get_one(Study, study.id), order, by=user)

        steps.append(Step(f"rewrite: {simulator.method}, {protocol}", finished, rewrite))
    return steps


def _added(session: Session, study: Study, data: SimulatorCreate | None) -> Simulator:
    if data is None:
        return shipped_simulator(session, study.model)
    return add_simulator(session, data)


def _lacking(session: Session, simulator: Simulator, ids: Sequence[int]) -> list[int]:
    """Those of some explanations that a rewrite or the scores lack, in their order."""
    evaluated = select(Simulation.explanation_id).where(
        among(Simulation.explanation_id, ids),
        Simulation.simulator_id == simulator.id,
        Simulation.set == str(ContextSet.EVALUATE),
    )
    scored = select(Score.explanation_id).where(
        among(Score.explanation_id, ids),
        Score.simulator_id == simulator.id,
        Score.name == str(ScoreName.CORRELATION),
    )
    done = set(session.scalars(evaluated)) & set(session.scalars(scored))
    return [number for number in ids if number not in done]


def newest_rewrite(
    session: Session, study: Study, simulator: Simulator, protocol: Protocol
) -> Rewrite | None:
    """The newest finished rewrite with current explanations."""
    return session.scalar(
        select(Rewrite)
        .where(
            Rewrite.study_id == study.id,
            Rewrite.simulator_id == simulator.id,
            Rewrite.protocol == protocol,
            Rewrite.author == "",
            Rewrite.finished,
        )
        .order_by(Rewrite.id.desc())
        .limit(1)
    )


def _left_out(session: Session, study: Study) -> str:
    """Why the shipped simulator does not run beside the published one; empty if it does."""
    shipped = shipped_for(study.model)
    if not shipped.has_base():
        return f"The base of the shipped simulator is not here: `palimpsest fetch {shipped.base}`."
    found = assess(session, study, shipped_simulator(session, study.model))
    return found.reason if found.independence == Independence.CONTAMINATED else ""
