"""The preview: what the study's simulator makes of a draft, beside the current explanation.

1. Simulate the draft on the calibrate set and on the examples that are shown, in one call.
2. Fit the isotonic calibration on the calibrate set, as for an explanation that is saved.
3. Score both texts on the calibrate set, and find the tokens whose error changed most.

The current explanation is simulated here too, once: so both are measured alike, also where it was
never simulated.
"""

import time
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.scoring.calibrate import CalibrationMap, fit
from interp.scoring.drafts import Quick, correlation_change, quick_scores
from interp.simulate.protocol import Ask, ReadsPart, Simulated
from interp.simulate.protocol import Simulator as Loaded
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import CalibrationMethod
from jobs.drafts import Difference, DraftAnswer, DraftRequest, Figures, Moved
from models import Explanation, Latent, Simulator, Study
from workers.interactive.texts import (
    Calibrate,
    Latest,
    Shown,
    calibrate_set,
    collection,
    real_values,
    shown_examples,
)
from workers.resources import simulator_of
from workers.tasks.rows import fields, finite

MOVED = 3
"""Tokens that are shown of those that got better, and of those that got worse."""
LEAST = 0.02
"""The smallest change of an error that is shown, as a share of the latent's maximum."""
BEFORE, AFTER = 8, 4
"""Tokens around one that moved."""
KEPT = 64
"""Texts whose values on the calibrate set are kept."""


Values = Float[np.ndarray, "context position"]


class Measured(NamedTuple):
    """A text on the calibrate set."""

    raw: Values
    calibrated: Values
    """Predicted activations; NaN where missing."""
    calibration_map: CalibrationMap | None
    """None if all values are missing."""
    scores: Quick


_kept: Latest[Measured] = Latest(KEPT)
"""Of the latest texts, by simulator, collection, latent and text."""


def preview_draft(session: Session, study: Study, request: DraftRequest) -> DraftAnswer:
    """Simulate a draft, and compare it with the current explanation.

    Raises:
        InputError: The study has no simulator, the latent no examples, or activations are missing.
    """
    began = time.perf_counter()
    row, latent = asked_of(session, study, request.latent)
    simulator = simulator_of(row, study)
    shown = shown_examples(latent.id, request.kinds)
    if request.examples_only or not SIMULATORS.named(row.method).instant:
        answer = _on_examples(study, latent, simulator, request, shown)
    else:
        answer = _compared(session, study, latent, simulator, request, shown)
    told = {"unread": unread(simulator, request.text), "seconds": time.perf_counter() - began}
    return answer.model_copy(update=told)


def asked_of(session: Session, study: Study, index: int) -> tuple[Simulator, Latent]:
    """The study's simulator, and the latent that is asked about.

    Raises:
        InputError: The study has no simulator, or it is not collected.
    """
    row = session.get(Simulator, study.simulator_id) if study.simulator_id else None
    latent = session.scalar(select(Latent).filter_by(study_id=study.id, index=index))
    if row is None or latent is None or "tokens" not in study.coder_info:
        raise InputError("This study has no simulator yet. Its collect job gives it one.")
    return row, latent


def unread(simulator: Loaded, text: str) -> str:
    """The end of a text that a simulator does not read."""
    return simulator.unread(text) if isinstance(simulator, ReadsPart) else ""


def _on_examples(
    study: Study, latent: Latent, simulator: Loaded, request: DraftRequest, shown: Shown
) -> DraftAnswer:
    if not shown.ids:
        raise InputError("There are no examples of this kind to simulate.")
    asked = [Ask(request.text, None, latent.index)]
    (simulated,) = simulator.simulate(asked, shown.strings, first_position=study.first_position)
    return DraftAnswer(
        context_ids=shown.ids, values=_listed(simulated.values), problem=_problem(simulated)
    )


def _compared(
    session: Session,
    study: Study,
    latent: Latent,
    simulator: Loaded,
    request: DraftRequest,
    shown: Shown,
) -> DraftAnswer:
    collected = collection(session, study)
    calibrate = calibrate_set(study.id, collected)
    real = real_values(study.id, latent.index, collected)
    first, size = study.first_position, len(calibrate.strings)
    key = (study.simulator_id, collected, latent.id)
    current = session.get(Explanation, request.current_id) if request.current_id else None
    texts = [request.text]
    if current is not None and (*key, current.text) not in _kept and current.text not in texts:
        texts.append(current.text)
    simulated = list(
        simulator.simulate(
            [Ask(text, None, latent.index) for text in texts],
            calibrate.strings + shown.strings,
            first_position=first,
        )
    )
    for text, one in zip(texts, simulated, strict=True):
        _kept[*key, text] = _measured(one.values[:size, first:].astype(np.float64), real)
    draft, values = _kept[*key, request.text], simulated[0].values[size:]
    knots = draft.calibration_map
    answer = DraftAnswer(
        context_ids=shown.ids,
        values=_listed(values),
        calibration_map=knots and (knots.x.tolist(), knots.y.tolist()),
        draft=_figures(draft.scores),
        problem=_problem(simulated[0]),
    )
    if current is None:
        return answer
    before = _kept[*key, current.text]
    better, worse = _moved(study, latent, calibrate, real, before, draft)
    change = correlation_change(before.raw, draft.raw, real, calibrate.documents, seed=study.seed)
    return answer.model_copy(
        update={
            "current": _figures(before.scores),
            "change": Difference.model_validate(fields(change)),
            "better": better,
            "worse": worse,
        }
    )


def _measured(raw: Values, real: Values) -> Measured:
    if np.isnan(raw).all():
        return Measured(raw, raw, None, quick_scores(raw, real))
    fitted = fit(CalibrationMethod.ISOTONIC, raw.ravel(), real.ravel(), maximum=1.0)
    return Measured(raw, fitted(raw), fitted, quick_scores(raw, real))


def _moved(
    study: Study,
    latent: Latent,
    calibrate: Calibrate,
    real: Values,
    current: Measured,
    draft: Measured,
) -> tuple[list[Moved], list[Moved]]:
    """The tokens whose error shrank most, and those whose error grew most: one a context."""
    errors = [np.abs(one.calibrated - real) for one in (current, draft)]
    gain = errors[0] - errors[1]
    least = LEAST * latent.max_activation

    def some(gain: Values) -> list[Moved]:
        gain = np.where(np.isnan(gain), -np.inf, gain)
        at = gain.argmax(1)
        best = gain.max(1)
        rows = [row for row in np.argsort(-best, kind="stable")[:MOVED] if best[row] > least]
        return [moved(int(row), int(at[row])) for row in rows]

    def moved(row: int, at: int) -> Moved:
        place = at + study.first_position
        text = calibrate.strings[row]
        return Moved(
            document=calibrate.documents[row],
            before="".join(text[max(study.first_position, place - BEFORE) : place]),
            token=text[place],
            after="".join(text[place + 1 : place + 1 + AFTER]),
            real=float(real[row, at]),
            current=float(current.calibrated[row, at]),
            draft=float(draft.calibrated[row, at]),
        )

    return some(gain), some(-gain)


def _figures(scores: Quick) -> Figures:
    return Figures(**{name: finite(value) for name, value in scores._asdict().items()})


def _problem(simulated: Simulated) -> str:
    """Why there is no value at all. Empty if there is one."""
    if not simulated.failures or not np.isnan(simulated.values).all():
        return ""
    return f"Nothing is simulated: {', '.join(simulated.failures)}."


def _listed(values: NDArray[np.float32]) -> list[list[float | None]]:
    return [[None if v != v else round(v, 4) for v in row] for row in values.tolist()]
