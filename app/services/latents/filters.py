"""The filter for latents, as conditions that indexes answer."""

import re
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    ColumnElement,
    ScalarSelect,
    any_,
    cast,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.services.latents.filter_schemas import LatentMatch
from app.services.rows import read
from interp.vocabulary import Linearisation
from models import (
    Attribution,
    EstimatedEffect,
    Explanation,
    Latent,
    LatentList,
    LatentListItem,
    LossEffect,
    Score,
    Simulation,
    Study,
)
from models.explanation import MARKS

COUNTED = 1000
"""Latents that match are counted up to this."""
# Made once: SQLAlchemy works out the columns of every alias anew.
_current, _version = aliased(Explanation), aliased(Explanation)
_score, _effect = aliased(Score), aliased(LossEffect)  # the list itself may be sorted by these
NAN = cast("NaN", REAL)
"""Sorts, and compares, above all numbers in PostgreSQL; a figure that is not defined is missing."""
OPERATORS = re.compile(r'"|(^|\s)-\S|\sor\s', re.IGNORECASE)
"""What makes a search more than words that are all to be there."""


def matching(study: Study, wanted: LatentMatch) -> list[ColumnElement[bool]]:
    """The conditions of a filter on the latents of a study."""
    conditions: list[ColumnElement[bool]] = [Latent.study_id == study.id]
    conditions += _between(Latent.firing_rate, wanted.firing_rate_min, wanted.firing_rate_max)
    of_current = []
    if wanted.q.strip():
        of_current.append(has(_current, wanted))
    if wanted.written_by:
        of_current.append(_current.author == _literal(wanted.written_by))
    if of_current:
        conditions.append(exists().where(_current.id == Latent.explanation_id, *of_current))
    if wanted.edited:
        conditions.append(
            exists().where(_version.latent_id == Latent.id, _version.author_kind == "person")
        )
    bounds = _between(_score.value, wanted.correlation_min, wanted.correlation_max)
    if wanted.simulated or bounds:
        # Scores are saved with the simulation they come from, even where they are not defined.
        conditions.append(
            exists().where(
                _score.explanation_id == Latent.explanation_id,
                _score.simulator_id == study.simulator_id,
                _score.name == "correlation",
                *bounds,
            )
        )
    if bounds := _between(_effect.mean, wanted.loss_effect_min, wanted.loss_effect_max):
        conditions.append(
            exists().where(
                _effect.explanation_id == Latent.explanation_id,
                *loss_effect_of(study, _effect),
                *bounds,
            )
        )
    if wanted.missing:
        conditions.append(
            exists().where(
                Simulation.explanation_id == Latent.explanation_id,
                Simulation.simulator_id == study.simulator_id,
                Simulation.missing > 0,
            )
        )
    if wanted.on_list:
        conditions.append(on_list(study, wanted.on_list))
    return conditions


def on_list(study: Study, name: str) -> ColumnElement[bool]:
    """True if a latent is on the study's list of this name."""
    return exists().where(
        LatentListItem.latent_id == Latent.id,
        LatentListItem.list_id == LatentList.id,
        LatentList.study_id == study.id,
        LatentList.name == name,
    )


def loss_effect_of(
    study: Study, effect: type[LossEffect] = LossEffect
) -> tuple[ColumnElement[bool], ...]:
    """The loss effect in the list: rewritten alone, isotonic, by the study's simulator."""
    return (
        effect.simulator_id == study.simulator_id,
        effect.condition == "rewritten",
        effect.calibration == "isotonic",
    )


def newest_attribution(study: Study) -> ScalarSelect[int]:
    """The attribution whose estimates count."""
    return (
        select(Attribution.id)
        .where(
            Attribution.study_id == study.id,
            Attribution.simulator_id == study.simulator_id,
            Attribution.finished,
        )
        .order_by(Attribution.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def estimate_of(
    study: Study,
    estimate: type[EstimatedEffect] = EstimatedEffect,
    point: Linearisation = Linearisation.REAL_LATENTS,
) -> tuple[ColumnElement[bool], ...]:
    """The estimate that the list shows: at all latents real, because the exact effect is measured
    there."""
    return estimate.attribution_id == newest_attribution(study), estimate.point == str(point)


def has(explanation: type[Explanation], wanted: LatentMatch) -> ColumnElement[bool]:
    """True if an explanation has the words, in any form of theirs or by their beginning."""
    words = re.findall(r"[^\W_]+", wanted.q)
    if not words:  # such as a comma, which is no word to full-text search
        return explanation.text.icontains(wanted.q.strip(), autoescape=True)
    plain = wanted.q.translate(str.maketrans(MARKS, " " * len(MARKS)))
    asked: ColumnElement[Any] = func.websearch_to_tsquery("english", _literal(plain))
    if not OPERATORS.search(wanted.q):
        begun = _literal(" & ".join(f"{word}:*" for word in words))
        asked = asked.op("||")(func.to_tsquery("simple", begun))
    return explanation.words.op("@@")(asked)


def _between(
    column: InstrumentedAttribute[Any], low: float | None, high: float | None
) -> list[ColumnElement[bool]]:
    """Bounds of a column of float4, rounded to that: 0.1 is meant to be 0.1."""
    conditions: list[ColumnElement[bool]] = []
    if low is not None:
        # Not "less than": a list sorted by the column would begin to read its index there.
        conditions += [column >= _literal(real(low)), column != NAN]
    if high is not None:
        conditions.append(column <= _literal(real(high)))
    return conditions


def _literal(value: Any) -> ColumnElement[Any]:
    """A value that is written into the statement, not handed to one that is planned for any value.

    The number of matching latents depends on it, and so does the fastest plan.
    """
    return literal(value, literal_execute=True)


def real(value: float) -> float:
    """A number as a column of float4 holds it."""
    return float(np.float32(value))


class Matched(NamedTuple):
    """The latents that match a filter."""

    total: int
    more: bool
    """There are more than ``total``, which is then as far as they are counted."""
    known: dict[int, int] | None
    """Their ids by their index, where they are few."""
    conditions: list[ColumnElement[bool]]
    """What is true of them."""


def matched(session: Session, study: Study, wanted: LatentMatch, *, many: bool = False) -> Matched:
    """Find the latents that match, up to as many as are counted.

    If they are few, later statements name them one by one. So the filter runs only once, and an
    order does not tempt the planner to read all latents in that order.

    Args:
        many: They were found to be more than are counted before.
    """
    conditions = matching(study, wanted)
    latents = study.coder_info.get("num_latents", 0)
    if not wanted.filter() and latents > COUNTED:
        return Matched(latents, False, None, conditions)
    if many:
        return Matched(COUNTED, True, None, conditions)
    found = select(Latent.id, Latent.index).where(*conditions).limit(COUNTED + 1).subquery()
    ids, numbers = read(
        session, select(func.array_agg(found.c.id), func.array_agg(found.c.index))
    ).one()
    known = dict(zip(numbers or (), ids or (), strict=True))
    if len(known) > COUNTED:
        return Matched(COUNTED, True, None, conditions)
    among = Latent.id == any_(literal(list(known.values()), ARRAY(BigInteger)))
    return Matched(len(known), False, known, [among])
