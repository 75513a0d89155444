"""Examples, lanes and agreement, worked out from arrays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.services.latents.agreement import confusions
from app.services.latents.examples import ShownExample, Token, by_interval, intervals, windows
from app.web.html.lanes import Look, token_html
from models import Latent
from workers.tasks.collect.latents import BINS, histogram


def _token(**changes: object) -> Token:
    values: dict[str, object] = {
        "text": " a",
        "real": 2.0,
        "simulated": 4.5,
        "calibrated": 0.5,
        "state": "simulated",
        "id": 7,
    }
    return Token(**(values | changes))  # type: ignore[arg-type]


def test_lanes_show_what_they_say() -> None:
    both = token_html(_token(), Look("both", False, 8.0))
    assert "--r:0.50;--s:0.25" in both, "the square root of the share of the largest"
    assert "--s" not in token_html(_token(), Look("real", False, 8.0))
    assert "--r" not in token_html(_token(), Look("simulated", False, 8.0))
    low = token_html(_token(), Look("difference", False, 6.0))
    assert "--u:0.50" in low and "--o" not in low
    high = token_html(_token(calibrated=8.0), Look("difference", False, 6.0))
    assert "--o:1.00" in high and "--u" not in high
    raw = token_html(_token(calibrated=None), Look("both", False, 8.0))
    assert "--s:0.71" in raw and "not calibrated" in raw
    for state, words in (("missing", "simulated value missing"), ("none", "not simulated")):
        shown = token_html(
            _token(simulated=None, calibrated=None, state=state), Look("both", False, 8.0)
        )
        assert f'class="t {state}"' in shown and words in shown and "--s" not in shown


def test_line_breaks_are_signs_or_breaks() -> None:
    after, before = _token(text=".\n\n"), _token(text="\nThe")
    assert "<br>" not in token_html(after, Look("both", False, 8.0))
    assert token_html(after, Look("both", True, 8.0)).endswith(".↵↵</span><br><br>")
    assert token_html(before, Look("both", True, 8.0)).startswith("<br><span")


def _example(strings: list[str], real: list[float], rank: int = 0) -> ShownExample:
    tokens = [
        Token(text, value, None, None, "none", 0) for text, value in zip(strings, real, strict=True)
    ]
    return ShownExample("top", rank, rank, f"document {rank}", 0, tokens)


@given(st.integers(1, 80), st.data())
def test_a_snippet_holds_the_peak(length: int, data: st.DataObject) -> None:
    peak = data.draw(st.integers(0, length - 1))
    real = [0.0] * length
    real[peak] = 1.0
    (window,) = windows([_example(["x"] * length, real)], snippet=True)
    assert 0 <= window.start <= peak < window.stop <= length
    assert window.stop - window.start == min(length, 25)
    (whole,) = windows([_example(["x"] * length, real)], snippet=False)
    assert (whole.start, whole.stop) == (0, length)


def test_texts_that_read_the_same_are_folded() -> None:
    boiler = ["of", " the", " Union"]
    one, other = _example(boiler, [0, 0, 5.0], 0), _example(boiler, [0, 0, 4.0], 1)
    different = _example(["of", " the", " State"], [0, 0, 3.0], 2)
    first, second = windows([one, other, different], snippet=False)
    assert (first.example, first.copies) == (one, [other])
    assert (second.example, second.copies) == (different, [])


@given(st.lists(st.floats(0.125, 64, width=32), max_size=40))
def test_a_histogram_counts_every_activation(values: list[float]) -> None:
    counts = histogram(np.array(values, np.float32))
    assert sum(counts) == len(values)
    assert len(counts) == (BINS if values else 0)
    if values:
        assert counts[-1] >= 1, "the largest is in the last"


def test_examples_are_in_the_interval_of_their_peak() -> None:
    latent = Latent(max_activation=10.0, quantiles=[], histogram=None)
    parts = intervals(latent)
    assert [one.share for one in parts] == [None] * 5
    for peak, at in ((10.0, 0), (8.0, 0), (7.9, 1), (0.01, 4)):
        example = _example(["x"], [peak])
        assert by_interval(latent, [example])[at] == [example]
        assert parts[at].low <= peak <= parts[at].high


def test_a_confusion_has_no_share_of_nothing() -> None:
    (none,) = confusions(np.array([1.0, 2.0]), np.array([False, False]), (5.0,), None)
    assert (none.sensitivity, none.precision, none.specificity) == (None, None, 1.0)
    assert none.calibrated is None
    (edge,) = confusions(np.array([5.0, 6.0]), np.array([True, True]), (5.0,), None)
    assert (edge.true_positives, edge.false_negatives) == (1, 1), "above, not at, the threshold"
