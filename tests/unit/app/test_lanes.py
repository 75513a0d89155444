"""Tokens in lanes: read in one place, written in one place, the same on every page."""

import numpy as np

from app.services.latents.examples import Token, tokens_of
from app.web.html.lanes import lanes_html
from models import Study

EVIL = "<b>"


def _tokens(*raw: float | None) -> list[Token]:
    study = Study(prepend_bos=True)
    values = np.array([0.0, *(np.nan if one is None else one for one in raw)], np.float32)
    real = [0.0, *([4.0] * len(raw))]
    count = len(real)
    return tokens_of(study, real, range(count), [EVIL] * count, values, ([0, 9], [0, 16]))


def test_a_text_is_read_in_states() -> None:
    bos, said, missing = _tokens(4.5, None)
    assert (bos.state, bos.simulated) == ("bos", None)
    assert (said.state, said.simulated, said.calibrated) == ("simulated", 4.5, 8.0)
    assert (missing.state, missing.simulated, missing.calibrated) == ("missing", None, None)


def test_two_explanations_stand_below_each_other() -> None:
    html = lanes_html(_tokens(9.0, None), 16.0, others=_tokens(None, 2.25), here=1)
    assert EVIL not in html
    bos, first, second = str(html).split("<span ")[1:]
    assert 'class="t bos paired"' in bos and '<i class="bos" style="--s:0.00">' in bos
    assert 'class="t paired here" style="--r:0.50;--s:1.00"' in first
    assert '<i class="missing" style="--s:0.00">' in first
    assert "A: simulated 9.00 of 9, calibrated 16.00, difference +12.00" in first
    assert "B: simulated value missing" in first
    assert 'class="t missing paired"' in second and '<i class="" style="--s:0.50">' in second
    plain = lanes_html(_tokens(9.0), 16.0)
    assert "<i" not in plain and "paired" not in plain and "&#10;simulated 9.00 of 9" in plain
