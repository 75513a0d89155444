"""Simulated against real activations on the calibrate set: token by token, and by threshold."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import NotFound
from app.services.latents.examples import get_calibration_map, get_simulation
from app.services.latents.stored import real_activations
from interp.corpus.activations import StoreError
from models import Context, Explanation, Latent, Study

DRAWN = 1000
"""At most so many active tokens, and so many silent ones, are drawn."""
THRESHOLDS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


class Confusion(NamedTuple):
    """The confusion counts if a raw value above the threshold predicts that the latent is
    active."""

    threshold: float
    calibrated: float | None
    """The threshold as an activation, by isotonic calibration."""
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float | None:
        """Of the active tokens, the share predicted active; None if there are none."""
        return _share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float | None:
        """Of the silent tokens, the share predicted silent."""
        return _share(self.true_negatives, self.false_positives)

    @property
    def precision(self) -> float | None:
        """Of the tokens predicted active, the share that are active; None if none is."""
        return _share(self.true_positives, self.false_positives)


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


class Point(NamedTuple):
    """One token of the calibrate set."""

    raw: float
    real: float
    calibrated: float | None
    token: str
    document: str
    context_id: int
    position: int


@dataclass(frozen=True)
class Agreement:
    """Simulated against real activations of one explanation, on all calibrate tokens."""

    explanation_id: int
    simulator_id: int
    active: int
    """Tokens on which the latent is active, and which have a simulated value."""
    silent: int
    missing: int
    """Tokens without a simulated value: they count nowhere."""
    points: list[Point]
    """Active tokens first, then silent ones: at most ``DRAWN`` of each, drawn at random."""
    active_drawn: int
    calibration_map: tuple[list[float], list[float]] | None
    """Of the isotonic calibration: raw values and activations."""
    thresholds: list[Confusion]
    as_often: Confusion | None
    """At the threshold at which it is predicted active as often as it is active."""
    curve: list[Confusion]
    """At many thresholds, rising, for the chart."""

    @property
    def silent_drawn(self) -> int:
        return len(self.points) - self.active_drawn


def agreement(
    session: Session, study: Study, latent: Latent, explanation: Explanation
) -> Agreement:
    """Hold what the study's simulator makes of an explanation against the real activations.

    Raises:
        NotFound: It is not simulated on the calibrate set, or the real activations are not here.
    """
    simulation = get_simulation(session, study, explanation, "calibrate")
    if simulation is None or study.simulator_id is None:
        raise NotFound(
            f"Explanation {explanation.id} is not simulated on the calibrate set by the study's "
            "simulator. Simulate it first."
        )
    rows = {
        context_id: (row, document)
        for context_id, row, document in session.execute(
            select(Context.id, Context.index, Context.document).where(
                Context.id.in_(simulation.context_ids)
            )
        )
    }
    order = [rows[context_id][0] for context_id in simulation.context_ids]
    raw = simulation.values.astype(np.float64)
    try:
        real = real_activations(study, latent, "calibrate", order)
    except StoreError as error:
        raise NotFound(str(error)) from error
    seen = ~np.isnan(raw)
    analysed = np.ones_like(seen)
    analysed[:, : study.first_position] = False
    seen &= analysed
    calibration_map = get_calibration_map(session, study, explanation)
    active = seen & (real > 0)
    places = _draw(active, seen & ~active, study.seed)
    strings = _strings(session, [simulation.context_ids[row] for row, _ in places])
    points = []
    for row, position in places:
        context_id, value = simulation.context_ids[row], float(raw[row, position])
        points.append(
            Point(
                value,
                float(real[row, position]),
                float(np.interp(value, *calibration_map)) if calibration_map else None,
                strings[context_id][position],
                rows[context_id][1],
                context_id,
                position,
            )
        )
    values, is_active = raw[seen], active[seen]
    quantile = get_calibration_map(session, study, explanation, "quantile")
    return Agreement(
        explanation.id,
        study.simulator_id,
        int(active.sum()),
        int((seen & ~active).sum()),
        int((analysed & ~seen).sum()),
        points,
        min(int(active.sum()), DRAWN),
        calibration_map,
        confusions(values, is_active, THRESHOLDS, calibration_map),
        _as_often(values, is_active, quantile, calibration_map),
        confusions(values, is_active, _grid(values, is_active), calibration_map),
    )


def _draw(
    active: Bool[np.ndarray, "context seq"], silent: Bool[np.ndarray, "context seq"], seed: int
) -> list[tuple[int, int]]:
    """The places of the drawn tokens: (row, position), the active ones first."""
    rng = np.random.default_rng(seed)
    places: list[tuple[int, int]] = []
    for cells in (active, silent):
        found = np.argwhere(cells)
        if len(found) > DRAWN:
            found = found[np.sort(rng.choice(len(found), DRAWN, replace=False))]
        places += [(int(row), int(position)) for row, position in found]
    return places


def _strings(session: Session, context_ids: list[int]) -> dict[int, list[str]]:
    query = select(Context.id, Context.strings).where(Context.id.in_(set(context_ids)))
    return {context_id: strings for context_id, strings in session.execute(query)}


def confusions(
    raw: Float[np.ndarray, "token"],
    active: Bool[np.ndarray, "token"],
    thresholds: NDArray[np.float64] | tuple[float, ...],
    calibration_map: tuple[list[float], list[float]] | None,
) -> list[Confusion]:
    """The confusion counts at several thresholds; a value above the threshold is predicted active.

    Args:
        raw: Simulated values; none is missing.
        active: True where the latent is really active.
    """
    of_active, of_silent = np.sort(raw[active]), np.sort(raw[~active])
    found = []
    for threshold in thresholds:
        false_negatives = int(np.searchsorted(of_active, threshold, "right"))
        true_negatives = int(np.searchsorted(of_silent, threshold, "right"))
        found.append(
            Confusion(
                float(threshold),
                float(np.interp(threshold, *calibration_map)) if calibration_map else None,
                len(of_active) - false_negatives,
                false_negatives,
                len(of_silent) - true_negatives,
                true_negatives,
            )
        )
    return found


def _grid(
    raw: Float[np.ndarray, "token"], active: Bool[np.ndarray, "token"]
) -> NDArray[np.float64]:
    """Thresholds where something changes: ranks of both the active and the silent tokens."""
    shares = np.linspace(0, 1, 30)
    parts = [np.quantile(part, shares) for part in (raw[active], raw[~active]) if len(part)]
    return np.unique(np.concatenate([*parts, [0.0]]))


def _as_often(
    raw: Float[np.ndarray, "token"],
    active: Bool[np.ndarray, "token"],
    quantile: tuple[list[float], list[float]] | None,
    calibration_map: tuple[list[float], list[float]] | None,
) -> Confusion | None:
    """At the threshold of the scores: tokens that quantile normalisation sends above zero are
    predicted active."""
    if quantile is None:
        return None
    silent = raw[np.interp(raw, *quantile) <= 0]
    if not len(silent):
        return None
    return confusions(raw, active, (float(silent.max()),), calibration_map)[0]
