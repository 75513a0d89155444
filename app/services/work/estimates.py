"""Estimates for explaining, simulating and scoring: from earlier ones, or by formulas."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Float, func, select
from sqlalchemy.orm import Session

from app.services.simulators.missing import simulated_tokens
from app.services.work.schemas import Estimate, ExplainCreate, ScoreCreate
from interp.explain.registry import EXPLAINERS
from interp.llm.usage import Tokens
from interp.simulate.registry import SIMULATORS
from jobs.rates import earlier
from models import Example, Explanation, Job, Latent, Score, Simulation, Simulator, Study
from models.base import among

EFFECT_CONTEXTS = 24
"""Contexts more, at most, that an explanation is simulated on to measure its loss effect."""
EXPLANATION = 140
"""Characters of an explanation that is still to be written, about: 40 tokens."""
SCORED = Tokens(3000, 0)
"""The usage of scoring one explanation, about: 100 short texts."""
RECENT = 200
"""Estimates are means over so many of the last simulations or explanations."""


def of_simulations(
    session: Session,
    study: Study,
    simulator: Simulator,
    ids: Sequence[int],
    measured: int,
    *,
    anew: bool = False,
) -> Estimate:
    """Estimate the usage of simulating some explanations.

    Args:
        anew: Simulate existing simulations again, instead of keeping them.
    """
    there = select(Simulation.explanation_id).where(
        among(Simulation.explanation_id, ids),
        Simulation.simulator_id == simulator.id,
        Simulation.set == "calibrate",
    )
    done = set() if anew else set(session.scalars(there))
    lacking = [number for number in ids if number not in done]
    length = session.scalar(
        select(func.avg(func.length(Explanation.text))).where(among(Explanation.id, lacking))
    )
    estimate = of_new_simulations(
        session, study, simulator, len(lacking), min(measured, len(lacking)), round(length or 0)
    )
    return estimate.model_copy(update={"done": len(done)})


def of_new_simulations(
    session: Session,
    study: Study,
    simulator: Simulator,
    explanations: int,
    measured: int,
    length: int = EXPLANATION,
) -> Estimate:
    """Estimate the usage of simulating so many explanations, none of which is simulated yet.

    Args:
        measured: Number of latents to measure individually.
        length: Characters of an explanation, on average.
    """
    contexts = contexts_of(session, study, simulator)
    more = min(EFFECT_CONTEXTS, study.contexts_evaluate - study.contexts_rewrite)
    all_contexts = explanations * contexts + measured * more
    method = SIMULATORS.named(simulator.method)
    # A method of blocks reads each text once. What that took is told with one explanation of many,
    # so a mean over explanations says nothing.
    past = None if method.batch > 1 else _past_simulations(session, simulator)
    if past is not None:
        estimate = _measured(explanations, all_contexts, past)
    else:
        tokens = method.usage(
            explanations,
            length=length,
            contexts=round(all_contexts / explanations) if explanations else 0,
            seq=simulated_tokens(study),
        )
        estimate = _by_formula(explanations, tokens)
    seconds = _by_rates(session, study, simulator, explanations, measured)
    told = {"seconds": seconds, "measured": True}
    return estimate if seconds is None else estimate.model_copy(update=told)


def contexts_of(session: Session, study: Study, simulator: Simulator) -> int:
    """Contexts that each explanation is simulated on: calibrate, its latent's examples, rewrite."""
    examples = session.scalar(
        select(func.count(Example.id))
        .join(Latent, Latent.id == Example.latent_id)
        .where(Latent.study_id == study.id, Latent.max_activation > 0)
        .group_by(Latent.id)
        .limit(1)
    )
    calibrate = simulator.options.get("calibrate_contexts") or study.contexts_calibrate
    return min(calibrate, study.contexts_calibrate) + (examples or 0) + study.contexts_rewrite


def _by_rates(
    session: Session, study: Study, simulator: Simulator, explanations: int, measured: int
) -> float | None:
    """The time of a job and of its rest, from what each kind of their units took in earlier ones.
    None if there was none alike."""
    rates = earlier(session, study.id, "simulate", simulator.id)
    blocks = explanations > 1 and SIMULATORS.named(simulator.method).batch > 1
    steps = ("values", "scores", "examples") if blocks else ("calibrate", "evaluate")
    needed = (*steps, "loss_effects") if measured else steps
    if not rates.keys() >= {*needed}:
        return None
    each = sum(rates[step] for step in steps)
    return explanations * each + measured * rates.get("loss_effects", 0.0)


class Past(NamedTuple):
    """The mean usage of one context, or of one explanation."""

    tokens_read: float
    tokens_written: float
    seconds: float


def _past_simulations(session: Session, simulator: Simulator) -> Past | None:
    """The mean usage of one context in the last simulations by a simulator; None without any."""
    recent = (
        select(
            Simulation.tokens_read,
            Simulation.tokens_written,
            Simulation.seconds,
            func.cardinality(Simulation.context_ids).label("contexts"),
        )
        .where(Simulation.simulator_id == simulator.id)
        .order_by(Simulation.id.desc())
        .limit(RECENT)
        .subquery()
    )
    columns = recent.c.tokens_read, recent.c.tokens_written, recent.c.seconds
    contexts, *sums = session.execute(
        select(func.sum(recent.c.contexts), *(func.sum(column) for column in columns))
    ).one()
    return Past(*(float(total) / contexts for total in sums)) if contexts else None


def of_explanations(session: Session, data: ExplainCreate, latents: int) -> Estimate:
    """Estimate the usage of explaining so many latents."""
    past = _past_explanations(session, data)
    if past is not None:
        return _measured(latents, 1 if data.llm is None else latents, past)
    return _by_formula(latents, EXPLAINERS[data.method].usage(latents))


def _past_explanations(session: Session, data: ExplainCreate) -> Past | None:
    """The mean usage of the last explanations by an explainer (of a job, where no language model is
    asked); None without any."""
    if data.llm is None:
        return _past_counts(session, data.method)
    by_it = Explanation.author == data.method
    return _past_details(session, Explanation, data.llm.model, by_it)


def _past_counts(session: Session, method: str) -> Past | None:
    """An explainer that counts reads no tokens, and a job takes about as long for few latents as
    for many: it looks at all text first."""
    seconds = session.scalar(
        select(func.avg(Job.usage["seconds"].as_float().cast(Float))).where(
            Job.kind == "explain",
            Job.status == "finished",
            Job.params["method"].as_string() == method,
            Job.usage.has_key("seconds"),
        )
    )
    return None if seconds is None else Past(0.0, 0.0, seconds)


def of_scoring(session: Session, data: ScoreCreate, count: int) -> Estimate:
    """Estimate the usage of scoring: each explanation has two scores, which record their usage."""
    past = _past_details(session, Score, data.llm.model, Score.simulator_id.is_(None))
    if past is None:
        return _by_formula(count, SCORED.times(count))
    return _measured(count, 2 * count, past)


def _past_details(
    session: Session,
    table: type[Score] | type[Explanation],
    model: str,
    condition: ColumnElement[bool],
) -> Past | None:
    """Means of what the last rows by a language model say that they took; None without any."""
    names = ("tokens_read", "tokens_written", "seconds")
    recent = (
        select(*(table.details[name].as_float().label(name) for name in names))
        .where(
            condition,
            table.details["model"].as_string() == model,
            table.details.has_key("seconds"),
        )
        .order_by(table.id.desc())
        .limit(RECENT)
        .subquery()
    )
    means = session.execute(select(*(func.avg(recent.c[name]) for name in names))).one()
    return None if None in means else Past(*map(float, means))


def _measured(latents: int, times: int, past: Past) -> Estimate:
    """An estimate from what one of so many has taken."""
    return Estimate(
        latents=latents,
        done=0,
        tokens_read=round(times * past.tokens_read),
        tokens_written=round(times * past.tokens_written),
        seconds=times * past.seconds,
        measured=True,
    )


def _by_formula(latents: int, tokens: Tokens) -> Estimate:
    return Estimate(
        latents=latents,
        done=0,
        tokens_read=tokens.read,
        tokens_written=tokens.written,
        seconds=None if latents else 0.0,
        measured=False,
    )
