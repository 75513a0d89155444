"""Figures as people read them."""

import pytest

from app.services.formatting import percent
from app.web.rewrites.charts import _digits


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.5, "50%"),
        (0.9951, "99.51%"),
        (0.99976, "99.976%"),
        (0.9999999, "> 99.999%"),
        (0.0004, "0.040%"),
        (1.2, "120%"),
        (-0.25, "−25%"),
    ],
)
def test_what_is_nearly_all_is_not_all(share: float, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(
    "shares", [[1 / 4096, 2 / 4096, 0.5, 1.0], [0.00098, 0.00102, 0.12], [0.333, 0.3333, 0.33333]]
)
def test_ticks_are_told_apart(shares: list[float]) -> None:
    labels = {f"{share:.{_digits(shares)}g}" for share in shares}
    assert len(labels) == len(shares)
