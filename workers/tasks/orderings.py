"""Which explanations a rewrite takes, and in which orders."""

from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.contexts import ContextSet
from interp.errors import InputError
from interp.evaluate import Protocol
from models import Explanation, Job, Latent, LatentCost, Rewrite, Score, Simulation, Study
from workers.resources import coder_of
from workers.tasks.rows import context_tokens
from workers.version import code_version

FRACTIONS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of all latents: the published points."""
POINTS = 4
"""The fewest points on a line. A set too small for so many published ones is halved, and again."""
RANDOM_ORDERS = 3


def make_rewrite(session: Session, job: Job, study: Study) -> Rewrite:
    """The job's rewrite, made on its first start.

    Raises:
        InputError: Nothing has been simulated yet, or there is no simulator.
    """
    if rewrite_id := job.params.get("rewrite_id"):
        return session.get_one(Rewrite, rewrite_id)
    simulator_id = job.params.get("simulator_id") or study.simulator_id
    if simulator_id is None:
        raise InputError("This study has no simulator yet. Run its collect job first.")
    parent = session.get(Rewrite, job.params.get("parent_id") or 0)
    changed = job.params.get("explanation_ids")
    if parent is not None and changed is not None:
        orderings = _repeated(session, simulator_id, parent, changed)
    else:
        orderings = _ordered(session, study, simulator_id)
    if not orderings["score"]:
        raise InputError(
            "No explanation of this study has been simulated yet. Simulate some first."
        )
    rewrite = Rewrite(
        study_id=study.id,
        simulator_id=simulator_id,
        protocol=str(Protocol(job.params.get("protocol", Protocol.WHOLE))),
        explanation_ids=orderings["score"],
        orderings=orderings,
        counts=counts(len(orderings["score"]), coder_of(study).num_latents),
        context_ids=context_tokens(session, study, ContextSet.EVALUATE)[0][
            : study.contexts_rewrite
        ],
        seed=study.seed,
        parent_id=parent.id if parent else None,
        code_version=code_version(),
    )
    session.add(rewrite)
    session.flush()
    job.params = {**job.params, "rewrite_id": rewrite.id}
    session.commit()
    return rewrite


def counts(size: int, num_latents: int) -> list[int]:
    """Numbers of latents rewritten: the published fractions that ``size`` latents reach, and all.

    >>> counts(4096, 4096)
    [4, 41, 205, 410, 819, 1638, 2458, 3277, 4096]
    >>> counts(32, 4096)
    [4, 8, 16, 32]
    """
    found = {max(1, round(fraction * num_latents)) for fraction in FRACTIONS}
    found = {count for count in found if count <= size} | {size}
    half = size
    while len(found) < POINTS and half > 1:
        half = max(1, round(half / 2))
        found.add(half)
    return sorted(found)


def _simulated(simulator_id: int) -> Any:
    """Explanations that are simulated on the evaluate set, best correlation first."""
    return (
        select(Explanation.id, Explanation.latent_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .outerjoin(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == simulator_id)
            & (Score.name == "correlation"),
        )
        .where(
            Simulation.simulator_id == simulator_id,
            Simulation.set == str(ContextSet.EVALUATE),
        )
        .order_by(Score.value.desc().nulls_last(), Latent.index)
    )


def _ordered(session: Session, study: Study, simulator_id: int) -> dict[str, list[int]]:
    """The current explanations that have been simulated, in every order."""
    current = _simulated(simulator_id).where(
        Latent.study_id == study.id, Latent.explanation_id == Explanation.id
    )
    score = [row.id for row in session.execute(current)]
    effects = select(LatentCost.explanation_id, LatentCost.mean).where(
        LatentCost.explanation_id.in_(score),
        LatentCost.simulator_id == simulator_id,
        LatentCost.condition == "zeroed",
    )
    effect = {row.explanation_id: row.mean for row in session.execute(effects)}
    known = [i for i in score if effect.get(i) is not None]
    orderings = {
        "score": score,
        "effect": [
            *sorted(known, key=lambda i: effect[i], reverse=True),
            *(i for i in score if effect.get(i) is None),
        ],
    }
    for number in range(1, RANDOM_ORDERS + 1):
        rng = np.random.default_rng([study.seed, number])
        orderings[f"random {number}"] = [score[i] for i in rng.permutation(len(score))]
    return orderings


def _repeated(
    session: Session, simulator_id: int, parent: Rewrite, changed: list[int]
) -> dict[str, list[int]]:
    """The orders of an earlier rewrite, so that the two can be compared point by point.

    The changed explanations take the places of their latents, and new latents come last.
    """
    new = {
        row.latent_id: row.id
        for row in session.execute(_simulated(simulator_id).where(Explanation.id.in_(changed)))
    }
    parents = select(Explanation).where(Explanation.id.in_(parent.explanation_ids))
    latent_of = {e.id: e.latent_id for e in session.scalars(parents)}
    added = [e for latent, e in new.items() if latent not in latent_of.values()]
    return {
        name: [*(new.get(latent_of[old], old) for old in order), *added]
        for name, order in parent.orderings.items()
    }
