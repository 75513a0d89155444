"""The contexts of the calibrate set that an explanation predicts worst."""

from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.latents.examples import Token, get_calibration_map, get_simulation, tokens_of
from app.services.latents.stored import real_activations
from interp.corpus.activations import StoreError
from interp.explain.errors import Place, worst_places
from interp.explain.prompts import AFTER, BEFORE
from models import Context, Explanation, Latent, Study

COUNT = 5
"""Errors of each kind that a page shows."""


class WrongToken(NamedTuple):
    """A token near an error."""

    text: str
    real: float
    predicted: Token


class Wrong(NamedTuple):
    """A context, and the token in it where the simulation is most wrong."""

    context_id: int
    document: str
    start: int
    position: int
    """Of the token in its context."""
    cut: bool
    """Whether tokens of the context before these are left out."""
    at: int
    """Of the token among these."""
    tokens: list[WrongToken]

    @property
    def token(self) -> WrongToken:
        return self.tokens[self.at]


class Worst(NamedTuple):
    """The worst errors of an explanation, worst first."""

    false_positives: list[Wrong]
    """It is predicted active, and is silent."""
    false_negatives: list[Wrong]
    """It is active, and predicted lower."""
    contexts: int
    """How many were looked through."""
    missing: int
    """Values among them that are missing: what they would be is not known, so none is an error."""
    problem: str = ""
    """Reason why there are no errors to show; empty if there are."""


def worst_of(
    session: Session, study: Study, latent: Latent, explanation: Explanation, *, count: int = COUNT
) -> Worst:
    """The worst false positives and false negatives on the calibrate set, one a context.

    Values are calibrated (isotonic), as they are when the layer is rewritten.
    """
    simulation = get_simulation(session, study, explanation, "calibrate")
    if simulation is None:
        return _nothing("It is not simulated on the calibrate set yet.")
    calibration_map = get_calibration_map(session, study, explanation)
    if calibration_map is None:
        return _nothing("Every simulated value is missing, so nothing is known of its errors.")
    ids = list(simulation.context_ids)
    rows = session.execute(select(Context.id, Context.index).where(Context.id.in_(ids)))
    row_of = {row["id"]: row["index"] for row in rows.mappings()}
    try:
        real = real_activations(study, latent, "calibrate", [row_of[i] for i in ids])
    except StoreError as error:
        return _nothing(str(error))
    raw = simulation.values.astype(np.float64)
    calibrated = np.where(np.isnan(raw), np.nan, np.interp(raw, *calibration_map))
    positives, negatives = worst_places(calibrated, real, count=count)
    shown = {ids[place.row] for place in (*positives, *negatives)}
    contexts = {c.id: c for c in session.scalars(select(Context).where(Context.id.in_(shown)))}
    begins = study.first_position

    def wrong(place: Place) -> Wrong:
        context = contexts[ids[place.row]]
        first = max(begins, place.position - BEFORE)
        last = place.position + AFTER + 1
        activations, values = real[place.row].tolist(), simulation.values[place.row]
        predicted = tokens_of(
            study, activations, context.tokens, context.strings, values, calibration_map
        )
        tokens = [WrongToken(token.text, token.real, token) for token in predicted[first:last]]
        return Wrong(
            context.id,
            context.document,
            context.start,
            place.position,
            first > begins,
            place.position - first,
            tokens,
        )

    return Worst(
        [wrong(place) for place in positives],
        [wrong(place) for place in negatives],
        len(ids),
        simulation.missing,
    )


def _nothing(problem: str) -> Worst:
    return Worst([], [], 0, 0, problem)
