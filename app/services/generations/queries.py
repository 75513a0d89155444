"""Generations in the database."""

from math import floor
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.generations.schemas import GenerationCreate
from app.services.latents.queries import simulated_explanations
from jobs.params import GenerateParams
from jobs.queue import enqueue
from models import Explanation, Generation, Latent, Simulation, Study
from models.base import among

PATIENCE = 60.0
"""Seconds from which on a generation is called slow."""


class Estimate(NamedTuple):
    """About how long the rewritten continuation should take, from what others have taken."""

    simulations: int
    seconds: float
    fitting: int
    """Latents with which it would take no more than a minute; 0 if one is too many."""

    @property
    def slow(self) -> bool:
        return self.seconds > PATIENCE


class Rewritten(NamedTuple):
    """A latent that is rewritten in a generation, and the explanation that stands in for it."""

    latent: int
    text: str


def seconds_per_context(session: Session, study: Study) -> float | None:
    """About how long the study's simulator takes for one explanation on one context.

    As it took in generations, where each simulation reads its explanation anew; before the first
    one, as it took for many contexts at once, which is faster.
    """
    rewritten = Generation.continuations["rewritten"]
    made = rewritten["simulations"].as_integer()
    past = select(func.sum(rewritten["seconds"].as_float()), func.sum(made)).where(
        Generation.simulator_id == study.simulator_id, made > 0
    )
    at_once = select(
        func.sum(Simulation.seconds), func.sum(func.cardinality(Simulation.context_ids))
    ).where(Simulation.simulator_id == study.simulator_id)
    for query in (past, at_once):
        seconds, simulations = session.execute(query).one()
        if simulations:
            return float(seconds) / int(simulations)
    return None


def estimate(per_context: float, latents: int, new_tokens: int) -> Estimate:
    """The time to simulate some latents once for each new token."""
    simulations = latents * new_tokens
    one = per_context * new_tokens
    fitting = floor(PATIENCE / one) if one else latents
    return Estimate(simulations, simulations * per_context, fitting)


def create_generation(
    session: Session, study: Study, data: GenerationCreate, user: str
) -> Generation:
    """Insert a generation and queue it. Commits the session.

    Raises:
        Conflict: There are not so many latents to rewrite; nothing is saved.
    """
    available = simulated_explanations(session, study)
    if not available:
        raise Conflict(
            f"No explanation of study {study.slug} has been simulated yet, so there is nothing to "
            "rewrite. Simulate one on a latent's page first."
        )
    if data.latents > len(available):
        raise Conflict(
            f"Use {len(available)} latents or fewer: so many current explanations of study "
            f"{study.slug} have been simulated."
        )
    generation = Generation(
        study_id=study.id,
        simulator_id=study.simulator_id,
        explanation_ids=available[: data.latents],
        code_version="",
        created_by=user,
        **data.model_dump(exclude={"latents"}),
    )
    session.add(generation)
    session.flush()
    order = GenerateParams(generation_id=generation.id)
    enqueue(session, study, order, by=user, fills=generation)
    return generation


def list_generations(
    session: Session, study: Study, *, limit: int, offset: int = 0
) -> tuple[list[Generation], int]:
    """Generations of a study, newest first, and how many there are in all."""
    mine = Generation.study_id == study.id
    query = select(Generation).where(mine).order_by(Generation.id.desc())
    total = session.scalar(select(func.count()).select_from(Generation).where(mine)) or 0
    return list(session.scalars(query.limit(limit).offset(offset))), total


def get_generation(session: Session, study: Study, generation_id: int) -> Generation:
    """One generation of a study.

    Raises:
        NotFound: The study has none of this number.
    """
    generation = session.get(Generation, generation_id)
    if generation is None or generation.study_id != study.id:
        raise NotFound(f"There is no generation {generation_id} in study {study.slug}.")
    return generation


def list_rewritten(session: Session, generation: Generation) -> list[Rewritten]:
    """The latents that are rewritten, in the order of the generation."""
    rows = session.execute(
        select(Explanation.id, Latent.index.label("latent"), Explanation.text)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(among(Explanation.id, generation.explanation_ids))
    )
    found = {row.id: Rewritten(row.latent, row.text) for row in rows}
    return [found[number] for number in generation.explanation_ids if number in found]
