"""The explanations of a rewrite, and their orders."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.vocabulary import ContextSet
from jobs.params import RewriteParams
from models import Explanation, Job, Latent, LossEffect, Rewrite, Score, Simulation, Study
from models.base import among
from models.rewrite import has_main_point
from workers.resources import coder_of
from workers.tasks.rows import context_tokens
from workers.version import code_version

FRACTIONS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of all latents: the published points."""
POINTS = 4
"""The fewest points on a line. A set too small for so many published ones is halved, and again."""
RANDOM_ORDERS = 3


def make_rewrite(session: Session, asked: RewriteParams, study: Study) -> Rewrite | None:
    """The rewrite that a job asks for: a new one, or one whose rest is to be measured. The caller
    commits.

    Returns:
        None if it would repeat the newest rewrite with nothing changed: an edit made meanwhile had
        it measured already. None too if the rewrite whose rest is asked for was deleted.

    Raises:
        InputError: Nothing has been simulated yet, or there is no simulator.
    """
    if asked.rewrite_id is not None:
        return _same_set(session, asked, study)
    simulator_id = asked.simulator_id or study.simulator_id
    if simulator_id is None:
        raise InputError("This study has no simulator yet. Run its collect job first.")
    protocol, author = asked.protocol, asked.author
    parent = None
    if asked.repeat:
        parent = _newest(session, study, simulator_id, protocol, author)
    if parent is not None and asked.edited:
        orderings = _repeated(session, parent, _edits(session, parent, asked.edited))
    else:
        orderings = _ordered(session, study, simulator_id, author)
        if not orderings["score"]:
            raise InputError(
                "No explanation of this study has been simulated yet. Simulate some first."
            )
        if parent is not None and parent.orderings.keys() != orderings.keys():
            parent = None
        if parent is not None:
            orderings = _repeated(session, parent, orderings["score"])
    size = len(orderings["score"])
    if parent is None:
        numbers = counts(size, coder_of(study).num_latents)
    elif orderings == parent.orderings:
        return None
    else:
        numbers = [*parent.counts[:-1], size]
    context_ids = context_tokens(session, study, ContextSet.EVALUATE)[0]
    return _make(
        session,
        study,
        parent,
        simulator_id=simulator_id,
        protocol=protocol,
        author=author,
        explanation_ids=orderings["score"],
        orderings=orderings,
        counts=numbers,
        context_ids=context_ids[: study.contexts_rewrite],
        seed=study.seed,
    )


def row_of(session: Session, job: Job) -> Rewrite | None:
    """The rewrite that a job's worker has noted, unless it was deleted."""
    number = job.state.get("rewrite_id")
    return session.get(Rewrite, number) if number else None


def _same_set(session: Session, asked: RewriteParams, study: Study) -> Rewrite | None:
    """A rewrite whose main point is measured; under another protocol, a new one of the same set in
    the same orders. So what is compared point by point under one is so under the other."""
    given = session.get(Rewrite, asked.rewrite_id)
    if given is None or given.protocol == asked.protocol:
        return given
    parent = None
    if given.parent_id is not None:
        parent = _newest(session, study, given.simulator_id, asked.protocol, given.author)
    same = ("author", "simulator_id", "explanation_ids", "orderings", "counts", "context_ids")
    columns = {name: getattr(given, name) for name in (*same, "seed")}
    return _make(session, study, parent, protocol=asked.protocol, **columns)


def _make(session: Session, study: Study, parent: Rewrite | None, **columns: Any) -> Rewrite:
    there = set(parent.explanation_ids) if parent else set(columns["explanation_ids"])
    rewrite = Rewrite(
        study_id=study.id,
        parent_id=parent.id if parent else None,
        edited_ids=sorted(set(columns["explanation_ids"]) - there),
        code_version=code_version(),
        **columns,
    )
    session.add(rewrite)
    session.flush()
    return rewrite


def _edits(session: Session, parent: Rewrite, edited: Sequence[int]) -> list[int]:
    """Those of some explanations that change a rewrite: the current ones, and those that are newer
    than the one of their latent there. An older one that is no longer current does not come back.

    All must be simulated on the evaluate set.
    """
    here = (
        select(Explanation.latent_id, Explanation.id.label("there"))
        .where(among(Explanation.id, parent.explanation_ids))
        .subquery()
    )
    rows = session.execute(
        select(Explanation.id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .join(Simulation, Simulation.explanation_id == Explanation.id)
        .outerjoin(here, here.c.latent_id == Explanation.latent_id)
        .where(
            among(Explanation.id, edited),
            (Latent.explanation_id == Explanation.id) | (here.c.there < Explanation.id),
            Simulation.simulator_id == parent.simulator_id,
            Simulation.set == str(ContextSet.EVALUATE),
        )
        .order_by(Explanation.id)
    )
    return [row.id for row in rows]


def _newest(
    session: Session, study: Study, simulator_id: int, protocol: str, author: str
) -> Rewrite | None:
    """The newest rewrite that a new one can repeat: its main point is measured."""
    return session.scalar(
        select(Rewrite)
        .where(
            Rewrite.study_id == study.id,
            Rewrite.simulator_id == simulator_id,
            Rewrite.protocol == protocol,
            Rewrite.author == author,
            Rewrite.finished | has_main_point(),
        )
        .order_by(Rewrite.id.desc())
        .limit(1)
    )


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


def _ordered(
    session: Session, study: Study, simulator_id: int, author: str
) -> dict[str, list[int]]:
    """The explanations that have been simulated, in every order.

    The order by effect is there only if the loss effect of zeroing was measured for all that have a
    value. Those without one come last: they rewrite nothing, so they have no loss effect.

    Args:
        author: The author of the explanations, the newest of each latent. Empty for the current
            ones.
    """
    wanted = _simulated(simulator_id).where(Latent.study_id == study.id)
    if author:
        newest = (
            select(func.max(Explanation.id))
            .where(Explanation.author == author)
            .group_by(Explanation.latent_id)
        )
        wanted = wanted.where(Explanation.id.in_(newest))
    else:
        wanted = wanted.where(Latent.explanation_id == Explanation.id)
    score = [row.id for row in session.execute(wanted)]
    effects = select(LossEffect.explanation_id, LossEffect.mean).where(
        among(LossEffect.explanation_id, score),
        LossEffect.simulator_id == simulator_id,
        LossEffect.condition == "zeroed",
    )
    effect = {row.explanation_id: row.mean for row in session.execute(effects)}
    orderings = {"score": score}
    unmeasured = set(score) - effect.keys()
    if unmeasured <= _without_values(session, study, simulator_id, unmeasured):
        known = [i for i in score if effect.get(i) is not None]
        orderings["effect"] = [
            *sorted(known, key=lambda i: effect[i], reverse=True),
            *(i for i in score if effect.get(i) is None),
        ]
    for number in range(1, RANDOM_ORDERS + 1):
        rng = np.random.default_rng([study.seed, number])
        orderings[f"random {number}"] = [score[i] for i in rng.permutation(len(score))]
    return orderings


def _without_values(
    session: Session, study: Study, simulator_id: int, explanation_ids: set[int]
) -> set[int]:
    """Those of some explanations that rewrite nothing.

    All their values are missing, on the evaluate set or on the calibrate set: without values there,
    they have no calibration.
    """
    tokens = study.context_length - study.first_position
    simulations = select(Simulation.explanation_id).where(
        among(Simulation.explanation_id, explanation_ids),
        Simulation.simulator_id == simulator_id,
        Simulation.set.in_([str(ContextSet.CALIBRATE), str(ContextSet.EVALUATE)]),
        Simulation.missing == func.cardinality(Simulation.context_ids) * tokens,
    )
    return set(session.scalars(simulations))


def _repeated(session: Session, parent: Rewrite, current: list[int]) -> dict[str, list[int]]:
    """The orders of an earlier rewrite, so that the two can be compared point by point.

    Each latent has its new explanation, if there is one, in its place. Latents that the earlier
    rewrite lacks come last.

    Args:
        current: The explanations to put in, best score first.
    """
    rows = session.execute(
        select(Explanation.id, Explanation.latent_id).where(
            among(Explanation.id, [*parent.explanation_ids, *current])
        )
    )
    latent_of = {row.id: row.latent_id for row in rows}
    new = {latent_of[i]: i for i in current}
    there = {latent_of[i] for i in parent.explanation_ids}
    added = [i for i in current if latent_of[i] not in there]
    return {
        name: [*(new.get(latent_of[old], old) for old in order), *added]
        for name, order in parent.orderings.items()
    }
