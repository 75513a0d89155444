"""Which words of a draft do the work, and which changes would help.

1. Simulate the text without each of its words, and compare the correlations.
2. On one half of the documents, find phrases to add and to remove, by
   :mod:`interp.explain.influence`.
3. Simulate these texts, choose those that raise the correlation on that half, and measure the gain
   on the other half.

An answer takes half a second at most, as others wait: it says what is known so far, and whoever
wants the rest asks again. The values of the texts are kept meanwhile.
"""

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sqlalchemy.orm import Session

from interp.explain import influence
from interp.scoring.calibrate import fit
from interp.scoring.drafts import correlation, correlation_change
from interp.scoring.scores import halves
from interp.scoring.statistics import Estimate
from interp.simulate.protocol import Ask
from interp.vocabulary import CalibrationMethod
from jobs.drafts import Difference
from jobs.influence import InfluenceAnswer, InfluenceRequest, Suggestion, WordInfluence
from models import Study
from workers.interactive.preview import asked_of, unread
from workers.interactive.texts import (
    Calibrate,
    Latest,
    calibrate_set,
    collection,
    real_values,
    words_of_calibrate_set,
)
from workers.resources import simulator_of
from workers.tasks.rows import fields, finite

SECONDS = 0.4
"""After so long no further text is simulated."""
TOGETHER = 3
"""Texts that are simulated at once."""
LEAST_GAIN = 0.002
"""A suggestion raises the correlation by at least so much where it is chosen."""
MOST = 5
"""Suggestions that are made."""
MOST_WORDS, MOST_PHRASES = 100, 20
"""Of a text. No simulator reads much more."""
LEAST_DOCUMENTS = 4
"""With fewer nothing is suggested: halves of them say nothing."""

Values = Float[np.ndarray, "context position"]

_kept: Latest[Float[np.ndarray, "context position"]] = Latest(512)
"""Values on the calibrate set, by simulator, collection, latent and text."""


class Variant(NamedTuple):
    """Another text to try, and what was added to the draft or removed from it."""

    change: Literal["add", "remove"]
    phrase: str
    text: str


def find_influence(session: Session, study: Study, request: InfluenceRequest) -> InfluenceAnswer:
    """Measure the words of a draft, and find changes that help, as far as the time allows.

    Raises:
        InputError: The study has no simulator, or activations are missing.
    """
    until = time.perf_counter() + SECONDS
    row, latent = asked_of(session, study, request.latent)
    simulator = simulator_of(row, study)
    collected = collection(session, study)
    calibrate = calibrate_set(study.id, collected)
    real = real_values(study.id, latent.index, collected)
    first, text = study.first_position, request.text
    key = (row.id, collected, latent.id)

    def simulated(texts: Sequence[str], until: float | None = None) -> dict[str, Values]:
        """Values of the texts, as far as time allows: of some new ones in any case."""
        new = [one for one in dict.fromkeys(texts) if (*key, one) not in _kept]
        for at in range(0, len(new), TOGETHER):
            if at and until is not None and time.perf_counter() > until:
                break
            some = new[at : at + TOGETHER]
            asks = [Ask(one, None, latent.index) for one in some]
            values = simulator.simulate(asks, calibrate.strings, first_position=first)
            for one, made in zip(some, values, strict=True):
                _kept[*key, one] = made.values[:, first:]
        return {one: _kept[*key, one] for one in texts if (*key, one) in _kept}

    raw = simulated([text])[text]
    spans = influence.words(text)[:MOST_WORDS]
    parts = influence.phrases(text)[:MOST_PHRASES]
    removals = [_removal(text, span) for span in [*spans, *parts]]
    half = halves(calibrate.documents, seed=study.seed)
    documents = np.array(calibrate.documents)
    counts = [len(set(documents[one].tolist())) for one in (half, ~half)]
    suggests = sum(counts) >= LEAST_DOCUMENTS
    additions: list[Variant] = []
    if suggests and not np.isnan(raw).all():
        vocabulary = words_of_calibrate_set(study.id, collected)
        missed = np.zeros(vocabulary.word_of.shape)
        missed[:, first:] = _missed(raw, real, half)
        phrases = influence.additions(text, vocabulary, missed, half)
        additions = [Variant("add", one, influence.adding(text, one)) for one in phrases]
    variants = [one for one in removals + additions if one.text]
    values = simulated([one.text for one in variants], until)
    changed = [one for one in variants if one.text in values]
    return InfluenceAnswer(
        text=text,
        correlation=finite(correlation(raw, real)),
        words=[
            WordInfluence(
                start=span.start,
                end=span.end,
                influence=_influence(raw, values.get(removal.text), real, calibrate, study.seed),
            )
            for span, removal in zip(spans, removals, strict=False)
        ],
        suggestions=(
            _suggestions(raw, values, changed, real, documents, half, study.seed)
            if suggests
            else []
        ),
        measured=len(changed),
        planned=len(variants),
        documents_chosen=counts[0],
        documents_checked=counts[1],
        unread=unread(simulator, text),
    )


def _removal(text: str, span: influence.Span) -> Variant:
    return Variant("remove", span.of(text), influence.without(text, span))


def _missed(raw: Values, real: Values, half: Bool[np.ndarray, " context"]) -> Values:
    """Real activation minus predicted, which is calibrated on one half. 0 where missing."""
    raw = raw.astype(np.float64)
    fitted = fit(CalibrationMethod.ISOTONIC, raw[half].ravel(), real[half].ravel(), maximum=1.0)
    return np.nan_to_num(real - fitted(raw))


def _influence(
    raw: Values, without: Values | None, real: Values, calibrate: Calibrate, seed: int
) -> Difference | None:
    if without is None:
        return None
    change = correlation_change(without, raw, real, calibrate.documents, seed=seed)
    return _difference(change)


def _suggestions(
    raw: Values,
    values: dict[str, Values],
    variants: Sequence[Variant],
    real: Values,
    documents: np.ndarray[tuple[int], np.dtype[np.str_]],
    half: Bool[np.ndarray, " context"],
    seed: int,
) -> list[Suggestion]:
    """The variants that gain most on the first half, with what they gain on the second."""
    before = correlation(raw[half], real[half])
    gains = [correlation(values[one.text][half], real[half]) - before for one in variants]
    best = [row for row in np.argsort(-np.array(gains), kind="stable") if gains[row] > LEAST_GAIN]
    there = list(documents[~half])
    return [
        Suggestion(
            change=variants[row].change,
            phrase=variants[row].phrase,
            text=variants[row].text,
            chosen=gains[row],
            checked=_difference(
                correlation_change(
                    raw[~half], values[variants[row].text][~half], real[~half], there, seed=seed
                )
            ),
        )
        for row in best[:MOST]
    ]


def _difference(change: Estimate) -> Difference:
    return Difference.model_validate(fields(change))
