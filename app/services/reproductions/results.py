"""The results of a reproduction, each beside what was published."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.formatting import figure, interval, simulator_name
from app.services.reproductions.recipes import Published, Recipe
from app.services.reproductions.steps import find_study, newest_rewrite, simulators
from app.services.rewrites.queries import results_of, statistics_of
from app.services.rewrites.views import BASELINES, LINES
from app.services.simulators.independence import assess
from interp.vocabulary import Condition, Protocol, ScoreName
from models import RewritePoint, Score, Simulator, Study
from models.base import among

SCORES = (ScoreName.CORRELATION, ScoreName.SENSITIVITY, ScoreName.SPECIFICITY)
Z = 1.959963984540054
"""Standard errors on either side of a mean that its 95% interval has."""


class Row(BaseModel):
    """A figure of ours and the statement that was published on it; either may be missing."""

    model_config = ConfigDict(frozen=True)

    study: str
    simulator: str = ""
    independence: str = ""
    protocol: str = ""
    condition: str
    latents: int | None = None
    share: float | None = None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    over_zero: float | None = None
    over_zero_low: float | None = None
    over_zero_high: float | None = None
    published: str = ""
    source: str = ""


def results(session: Session, recipe: Recipe) -> list[Row]:
    """All figures of a recipe's studies: losses over the untouched model in nats, mean scores.

    Published statements stand beside the figures of the published simulator. One that has no figure
    of ours has a row of its own.
    """
    rows: list[Row] = []
    for wanted in recipe.studies:
        study = find_study(session, wanted)
        open_ones = [
            one for one in recipe.published if not one.studies or wanted.slug in one.studies
        ]
        if study is not None:
            for number, simulator in enumerate(simulators(session, recipe, study)):
                beside = open_ones if number == 0 else []
                rows += _of_simulator(session, recipe, study, simulator, beside)
        rows += [_alone(wanted.slug, one) for one in open_ones]
    return rows


HEADINGS = (
    "study",
    "simulator",
    "protocol",
    "condition",
    "latents",
    "ours [95%]",
    "over zero ablation [95%]",
    "published",
)


def cells(row: Row) -> tuple[str, ...]:
    """A row as people read it; an en dash where there is no figure."""
    sign = row.protocol != ""  # a loss increase, and no score
    ours = f"{figure(row.ours, 3, sign)} {interval(row.low, row.high, 3, sign)}".rstrip()
    over = figure(row.over_zero, 3, True)
    over = f"{over} {interval(row.over_zero_low, row.over_zero_high, 3, True)}".rstrip()
    latents = "" if row.latents is None else f"{row.latents:,}"
    published = f"{row.published} ({row.source})" if row.published else ""
    by = f"{row.simulator} ({row.independence})" if row.independence else row.simulator
    return row.study, by, row.protocol, row.condition, latents, ours, over, published


def as_markdown(rows: Sequence[Row]) -> str:
    """The table that the command prints."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, rows)]
    escaped = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in escaped)


def _of_simulator(
    session: Session,
    recipe: Recipe,
    study: Study,
    simulator: Simulator,
    open_ones: list[Published],
) -> Iterator[Row]:
    """The rows of a simulator. Published statements that are told are taken off the list."""
    common: dict[str, Any] = {
        "study": study.slug,
        "simulator": simulator_name(simulator),
        "independence": assess(session, study, simulator).independence,
    }
    found_rewrites = [
        (protocol, rewrite)
        for protocol in recipe.protocols
        if (rewrite := newest_rewrite(session, study, simulator, protocol)) is not None
    ]
    for protocol, rewrite in found_rewrites:
        found = results_of(session, rewrite)
        points = [(one.label, point) for one in BASELINES if (point := found.baseline(one))]
        points += [
            (line.name, point) for line in LINES["calibrations"] for point in found.line(line)
        ]
        whole = rewrite.counts[-1] if recipe.latents is None else None
        for name, point in points:
            said = take_statement(
                open_ones, point, protocol, all=whole, of=study.coder_info["num_latents"]
            )
            yield Row(**common, **_loss(name, point), **_said(said), protocol=protocol)
    rewritten = found_rewrites[0][1].explanation_ids if found_rewrites else []
    for score in SCORES:
        if (row := _score(session, simulator, rewritten, score)) is not None:
            said = next(
                (one for one in open_ones if one.condition == score and one.variant is None), None
            )
            _take(open_ones, said)
            yield Row(**common, **row, **_said(said))


def take_statement(
    open_ones: list[Published],
    point: RewritePoint,
    protocol: Protocol,
    *,
    all: int | None,
    of: int,
) -> Published | None:
    """The statement on a point, which is taken off the list.

    Args:
        all: Latents of the whole set, if that is all that fire.
        of: Latents of the coder.
    """
    for one in open_ones:
        if one.variant is not None or one.protocol != protocol:
            continue
        if (one.condition, one.calibration or "") != (point.condition, point.calibration):
            continue
        wanted = None if one.share is None else all if one.share == 1 else round(one.share * of)
        if one.share is None or point.count == wanted:
            _take(open_ones, one)
            return one
    return None


def _take(open_ones: list[Published], one: Published | None) -> None:
    if one is not None:
        open_ones.remove(one)


def _said(one: Published | None) -> dict[str, str]:
    return {} if one is None else {"published": one.statement, "source": one.source}


def _alone(slug: str, one: Published) -> Row:
    """A statement that no figure of ours stands beside."""
    told = [one.condition.label]
    told += [one.calibration.label] if one.calibration else []
    told += [f"{one.share:.0%} of the latents"] if one.share else []
    told += [one.variant] if one.variant else []
    protocol = "" if isinstance(one.condition, ScoreName) else one.protocol
    return Row(study=slug, condition=", ".join(told), protocol=protocol, **_said(one))


def _loss(name: str, point: RewritePoint) -> dict[str, Any]:
    zero = statistics_of(point).against.zero if point.condition != Condition.ZERO else None
    return {
        "condition": name,
        "latents": point.count or None,
        "share": point.fraction if point.count else None,
        "ours": point.increase,
        "low": point.low,
        "high": point.high,
        "over_zero": zero and zero.mean,
        "over_zero_low": zero and zero.low,
        "over_zero_high": zero and zero.high,
    }


def _score(
    session: Session, simulator: Simulator, explanation_ids: Sequence[int], name: ScoreName
) -> dict[str, Any] | None:
    """The mean of a score over the latents rewritten, with its interval over latents.

    Latents without the score, such as those that never fire on the calibrate set, do not count.
    """
    values = np.array(
        session.scalars(
            select(Score.value).where(
                among(Score.explanation_id, explanation_ids),
                Score.simulator_id == simulator.id,
                Score.name == str(name),
                Score.value.is_not(None),
            )
        ).all(),
        dtype=float,
    )
    if not len(values):
        return None
    mean, count = float(values.mean()), len(values)
    error = Z * float(values.std(ddof=1)) / np.sqrt(count) if count > 1 else None
    return {
        "condition": f"mean {name.label}",
        "latents": count,
        "ours": mean,
        "low": None if error is None else mean - error,
        "high": None if error is None else mean + error,
    }
