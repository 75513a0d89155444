"""The figures that the loss chart shows, to take away."""

from collections.abc import Collection, Iterator

from app.services.rewrites.queries import Results, statistics_of
from app.services.rewrites.schemas import Figure
from app.services.rewrites.views import ALL_CONTEXTS, BASELINES, LINES, View
from interp.vocabulary import Breadth
from models import RewritePoint


def figures(results: Results, view: View, shown: Collection[str] | None = None) -> list[Figure]:
    """The points of one view of a rewrite.

    Args:
        shown: Names of the lines and baselines that are wanted; all if left out.
    """
    found = [
        _figure(name, point)
        for name, point in _points(results, view)
        if shown is None or name in shown
    ]
    if ALL_CONTEXTS in LINES[view] and (shown is None or ALL_CONTEXTS.name in shown):
        found += [_figure(name, point) for name, point in results.on_all_contexts()]
    return found


def _points(results: Results, view: View) -> Iterator[tuple[str, RewritePoint]]:
    for condition in BASELINES:
        if (point := results.baseline(condition)) is not None:
            yield condition.label, point
    for line in LINES[view]:
        if line is ALL_CONTEXTS:
            continue
        for ordering in line.orderings:
            for point in results.line(line, ordering):
                yield line.name, point


def _figure(name: str, point: RewritePoint) -> Figure:
    real = statistics_of(point).against.real_latents
    return Figure(
        line=name,
        condition=point.condition,
        calibration=point.calibration,
        ordering=point.ordering,
        breadth=Breadth(point.breadth),
        contexts=len(point.losses),
        latents=point.count,
        share=point.fraction,
        increase=point.increase,
        increase_low=point.low,
        increase_high=point.high,
        over_real_latents=real.mean if real else None,
        over_real_latents_low=real.low if real else None,
        over_real_latents_high=real.high if real else None,
        kl=point.kl,
        kl_low=point.kl_low,
        kl_high=point.kl_high,
        values_missing=point.missing,
    )
