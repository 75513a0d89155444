"""The firing rate of a latent, the strength of its activations, and its effect on the output."""

from typing import NamedTuple

from app.services.latents.examples import bins
from models import Latent

BINS = 40
"""Bars of the histogram."""


class Bar(NamedTuple):
    """A bar of the histogram."""

    height: float
    """Of the highest one's."""
    low: float
    high: float
    """The activations that it stands for."""
    share: float
    """Of the tokens on which the latent fires."""


class Output(NamedTuple):
    """An output token that the latent's decoder direction raises or lowers."""

    token: str
    logit: float
    """For an activation of 1."""
    width: float
    """Of the widest one's."""


class Statistics(NamedTuple):
    """The statistics of a latent on the explain set."""

    firing_rate: float
    max_activation: float
    mean_activation: float
    bars: list[Bar]
    counted: bool
    """True if the bars are counted, and not read off quantiles."""
    promoted: list[Output]
    suppressed: list[Output]


def statistics(latent: Latent) -> Statistics:
    """The statistics of a latent."""
    shares, counted = bins(latent, BINS)
    top, most = latent.max_activation, max(shares, default=0.0)
    bars = [
        Bar(share / most, top * i / len(shares), top * (i + 1) / len(shares), share)
        for i, share in enumerate(shares)
    ]
    return Statistics(
        latent.firing_rate,
        top,
        latent.mean_activation,
        bars,
        counted,
        _outputs(latent.promoted),
        _outputs(latent.suppressed),
    )


def _outputs(rows: list[list[str | float]]) -> list[Output]:
    logits = [float(logit) for _, logit in rows]
    most = max(map(abs, logits), default=0.0)
    return [
        Output(str(token), logit, abs(logit) / most if most else 0.0)
        for (token, _), logit in zip(rows, logits, strict=True)
    ]
