"""The loss effect of each explanation: only its latent rewritten, all others real."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.rewriting.evaluate import Known, evaluate
from interp.rewriting.splice import Splice, Values, real_latents, rewritten, set_zeroed
from interp.scoring.statistics import UNDEFINED, Estimate, compare, mean, stratified_mean
from interp.vocabulary import CalibrationMethod, Condition, ContextSet, Protocol
from models import Explanation, Latent, LossEffect, Simulation, Study
from workers.resources import coder_of, store_of, subject_of
from workers.tasks.rows import (
    calibrations_of,
    context_tokens,
    documents_of,
    fields,
)
from workers.tasks.simulate.known import Losses, real_losses, zeroed_losses

MOST = {"fires": 12, "predicted": 6, "silent": 6}
"""The most contexts that are run of each stratum: where the latent fires, where it is
only predicted active, and where it is neither."""


def contexts_to_simulate(study: Study, latent: Latent) -> list[int]:
    """The contexts of the evaluate set that an explanation is simulated on.

    They are those on which the whole layer is rewritten. If the latent fires on few of them, more
    on which it fires join them. Contexts on which it is silent join them likewise.
    """
    firing = set(_firing(study, latent))
    panel = list(range(study.contexts_rewrite))
    beyond = range(study.contexts_rewrite, study.contexts_evaluate)
    more = []
    for stratum, inside in (("fires", True), ("silent", False)):
        lacking = MOST[stratum] - sum((row in firing) == inside for row in panel)
        candidates = [row for row in beyond if (row in firing) == inside]
        more += _draw(study, latent, candidates, max(0, lacking))
    return panel + sorted(more)


class Line(NamedTuple):
    """What is measured of an explanation: one row."""

    condition: str
    calibration: str


ZEROED = Line("zeroed", "")
ISOTONIC = Line(str(Condition.REWRITTEN), str(CalibrationMethod.ISOTONIC))
FIRST = (ISOTONIC,)
"""What somebody waits for. What zeroing does is added to it where that is known."""
ALL = (ZEROED, *(Line(str(Condition.REWRITTEN), str(method)) for method in CalibrationMethod))


def measure(
    session: Session,
    study: Study,
    latent: Latent,
    simulations: Sequence[Simulation],
    lines: Sequence[Line] = ALL,
) -> None:
    """Measure what is lacking of the loss effect of an explanation.

    Nothing is measured without calibrations: then every calibrate-set value is missing.

    Args:
        simulations: Of the explanation on contexts of the evaluate set, each on others.
    """
    simulation = simulations[0]
    explanation_id = simulation.explanation_id
    maps = calibrations_of(session, [explanation_id], simulation.simulator_id)[explanation_id]
    there = _measured(session, simulation)
    lacking = set(lines) - there
    if not maps or not lacking:
        return
    ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
    where = Protocol.WHOLE.spliced(study.context_length, study.first_position)
    place = {context_id: row for row, context_id in enumerate(ids)}
    rows = [place[i] for one in simulations for i in one.context_ids]
    raw = np.concatenate([one.values for one in simulations])[:, where].astype(np.float64)
    sample = _sample(study, latent, rows, maps[str(CalibrationMethod.QUANTILE)](raw))

    def values(activations: NDArray[np.float64]) -> Values:
        everywhere = torch.full((len(ids), *activations.shape[1:], 1), torch.nan)
        everywhere[rows, :, 0] = torch.from_numpy(activations).float()
        return Values.of(torch.tensor([latent.index]), everywhere)

    zeroed = set_zeroed(values(raw))
    known_real = real_losses(session, study, ids)
    known: list[tuple[Splice, Losses]] = [(real_latents, known_real)]
    if not np.isnan(raw).any():
        known_zeroed = zeroed_losses(session, latent, known_real, ids)
        known.append((zeroed, known_zeroed))
        if not np.isnan(known_zeroed[sample.rows]).any() and ZEROED not in there:
            lacking.add(ZEROED)
    splices: dict[Line, Splice] = {
        line: zeroed if line == ZEROED else rewritten(values(maps[line.calibration](raw)))
        for line in ALL
        if line in lacking
    }
    real, *losses = _run(study, tokens, [real_latents, *splices.values()], sample.rows, known)
    known_real[sample.rows] = real
    context_ids = [ids[row] for row in sample.rows]
    documents = documents_of(session, context_ids)
    for (condition, calibration), loss in zip(splices, losses, strict=True):
        differences = (loss - real).astype(np.float32)
        effect, where_fires = _estimates(condition, differences, sample, documents, study.seed)
        session.add(
            LossEffect(
                explanation_id=explanation_id,
                simulator_id=simulation.simulator_id,
                condition=condition,
                calibration=calibration,
                context_ids=context_ids,
                strata=sample.strata,
                weights=sample.weights,
                differences=differences.tolist(),
                **_columns("", effect),
                **_columns("fires_", where_fires),
                before=_against_parent(
                    session,
                    simulation,
                    Line(condition, calibration),
                    {
                        c: d
                        for c, d, s in zip(context_ids, differences, sample.strata, strict=True)
                        if s == "fires"
                    },
                    study.seed,
                ),
            )
        )


def prepare(session: Session, study: Study, latent: Latent, stop: Callable[[], bool]) -> bool:
    """Measure what the loss effect of a new text will be compared with: the loss with all latents
    real, and with this one zeroed.

    Args:
        stop: Asked again and again; true ends it.

    Returns:
        True if nothing is left to measure.
    """
    ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
    where = Protocol.WHOLE.spliced(study.context_length, study.first_position)
    silent = torch.zeros(len(ids), where.stop - where.start, 1)
    zeroed = set_zeroed(Values.of(torch.tensor([latent.index]), silent))
    real_known = real_losses(session, study, ids)
    zeroed_known = zeroed_losses(session, latent, real_known, ids)
    simulated = contexts_to_simulate(study, latent)
    rows = _sample(study, latent, simulated, silent[simulated, :, 0].numpy()).rows
    lacking = [row for row in rows if np.isnan(real_known[row] + zeroed_known[row])]
    known = [(real_latents, real_known), (zeroed, zeroed_known)]
    for row in lacking:  # one by one: nobody waits for longer than that takes
        if stop():
            return False
        found = _run(study, tokens, [real_latents, zeroed], [row], known)
        real_known[row], zeroed_known[row] = found[:, 0]
    return True


def _run(
    study: Study,
    tokens: Int[Tensor, "context seq"],
    splices: Sequence[Splice],
    rows: Sequence[int],
    known: Sequence[tuple[Splice, Losses]],
) -> Float[np.ndarray, "splice row"]:
    """The losses of some contexts under some splices."""
    nothing = np.full(len(rows), np.nan)
    return evaluate(
        subject_of(study),
        coder_of(study),
        tokens,
        splices,
        protocol=Protocol.WHOLE,
        first_position=study.first_position,
        rows=rows,
        known=[Known(splice, losses[list(rows)], nothing) for splice, losses in known],
        divergence=False,
    ).loss


def _measured(session: Session, simulation: Simulation) -> set[Line]:
    rows = session.execute(
        select(LossEffect.condition, LossEffect.calibration).filter_by(
            explanation_id=simulation.explanation_id, simulator_id=simulation.simulator_id
        )
    )
    return {Line(*row) for row in rows}


class _Sample(NamedTuple):
    rows: list[int]
    strata: list[str]
    weights: dict[str, float]
    """Share of the evaluate set in each stratum. They sum to 1."""


def _sample(
    study: Study, latent: Latent, rows: list[int], predicted: NDArray[np.float64]
) -> _Sample:
    """Contexts that are run, drawn from each stratum of those that were simulated.

    Args:
        predicted: Quantile-normalised values, shape (simulated context, position).
    """
    firing = set(_firing(study, latent))
    strata: dict[str, list[int]] = {"fires": [], "predicted": [], "silent": []}
    for row, positive in zip(rows, np.any(predicted > 0, axis=1), strict=True):
        strata["fires" if row in firing else "predicted" if positive else "silent"].append(row)
    if min(len(strata["predicted"]), len(strata["silent"])) < 2:
        # Too few for a mean with an interval of their own.
        strata["silent"] = sorted(strata["predicted"] + strata["silent"])
        strata["predicted"] = []
    share = len(firing) / study.contexts_evaluate
    silent = len(strata["predicted"]) + len(strata["silent"])
    weights = {"fires": share} | {
        name: (1 - share) * len(strata[name]) / silent if silent else 0.0
        for name in ("predicted", "silent")
    }
    drawn = [
        (row, name)
        for name, some in strata.items()
        for row in _draw(study, latent, some, MOST[name])
    ]
    return _Sample([row for row, _ in drawn], [name for _, name in drawn], weights)


def _estimates(
    condition: str,
    differences: NDArray[np.float64],
    sample: _Sample,
    documents: list[str],
    seed: int,
) -> tuple[Estimate, Estimate]:
    """The loss effect over the evaluate set, and over the contexts where the latent fires."""
    fires = [i for i, stratum in enumerate(sample.strata) if stratum == "fires"]
    if not fires:
        where_fires = UNDEFINED
    else:
        where_fires = mean(differences[fires], [documents[i] for i in fires], seed=seed)
    if condition == "zeroed" and not fires:
        return UNDEFINED, where_fires
    effect = stratified_mean(differences, sample.strata, sample.weights, documents, seed=seed)
    return effect, where_fires


def _against_parent(
    session: Session,
    simulation: Simulation,
    line: Line,
    effects: dict[int, float],
    seed: int,
) -> dict[str, float | None] | None:
    """Compare the loss effects of this explanation and of its parent, where the latent fires.

    Args:
        line: Condition and calibration.
        effects: By context, for those where the latent fires.
    """
    parent_id = session.get_one(Explanation, simulation.explanation_id).parent_id
    parent = session.scalar(
        select(LossEffect).filter_by(
            explanation_id=parent_id,
            simulator_id=simulation.simulator_id,
            condition=line.condition,
            calibration=line.calibration,
        )
    )
    if parent is None:
        return None
    earlier = dict(zip(parent.context_ids, parent.differences, strict=True))
    shared = [context_id for context_id in effects if context_id in earlier]
    if not shared:
        return None
    comparison = compare(
        np.array([effects[i] for i in shared], dtype=np.float32),
        np.array([earlier[i] for i in shared], dtype=np.float32),
        documents_of(session, shared),
        seed=seed,
    )
    return fields(comparison)


def _firing(study: Study, latent: Latent) -> list[int]:
    """The contexts of the evaluate set in which the latent fires where it could be spliced."""
    (active,) = store_of(study, ContextSet.EVALUATE).read(range(latent.index, latent.index + 1))
    spliced = active.positions < study.context_length - 1
    return sorted({int(row) for row in active.contexts[spliced]})


def _draw(study: Study, latent: Latent, rows: Sequence[int], most: int) -> list[int]:
    """At most so many of the rows, drawn at random but always the same ones."""
    rng = np.random.default_rng([study.seed, latent.index])
    return sorted(rng.permutation(np.array(rows, dtype=int))[:most].tolist())


def _columns(prefix: str, estimate: Estimate) -> dict[str, float | None]:
    """An estimate as columns, with NULL for a number that is not defined."""
    names = ("mean", "low", "high")
    return {
        prefix + name: value for name, value in zip(names, fields(estimate).values(), strict=True)
    }
