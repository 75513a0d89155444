"""Other readings of a coder differ from it in one thing."""

from dataclasses import replace

import pytest
import torch

from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.linear import LinearCoder
from interp.coders.protocol import Coder, Fit
from interp.coders.readings import readings
from interp.coders.rules import Threshold, TopK
from interp.model.subject import Hooked
from tests.engine import D_MODEL, linear_coder, random_coder

X = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(1))
SUBTRACTED, NOT_SUBTRACTED = (f"the decoder's bias is {way}subtracted" for way in ("", "not "))
TRANSPOSED = "the skip connection is transposed"


def output(coder: Coder, x: torch.Tensor = X) -> torch.Tensor:
    return coder.decode(coder.encode(x), x)


@pytest.mark.parametrize(
    ("coder", "names"),
    [
        (random_coder(), [SUBTRACTED, TRANSPOSED]),
        (random_coder(skip=False), [SUBTRACTED]),
        (random_coder(transcode=False, skip=False), ["it is a transcoder", NOT_SUBTRACTED]),
        (linear_coder(TopK(3), centre=torch.ones(D_MODEL)), [NOT_SUBTRACTED]),
        (
            linear_coder(Threshold(torch.full((12,), 0.5), trained=TopK(3))),
            [SUBTRACTED, "the 3 largest are active"],
        ),
    ],
)
def test_readings_are_named_by_what_differs(
    coder: LinearCoder | SparsifyCoder, names: list[str]
) -> None:
    assert [*readings(coder)] == names


def test_a_reading_subtracts_the_bias() -> None:
    coder = random_coder(skip=False)
    bias = coder.module.b_dec.data
    # Subtracting from what is read is the same as reading what is less by it.
    other = readings(coder)[SUBTRACTED]
    torch.testing.assert_close(output(other), output(coder, X - bias), rtol=1e-5, atol=1e-5)
    sae = random_coder(transcode=False, skip=False)
    again = readings(sae)[NOT_SUBTRACTED]
    bias = sae.module.b_dec.data
    torch.testing.assert_close(output(again), output(sae, X + bias), rtol=1e-5, atol=1e-5)


def test_a_reading_transposes_the_skip_connection() -> None:
    coder = random_coder()
    skip = coder.module.W_skip.data
    moved = output(readings(coder)[TRANSPOSED]) - output(coder)
    torch.testing.assert_close(moved, X @ skip - X @ skip.mT, rtol=1e-5, atol=1e-5)


def test_a_reading_selects_as_the_training_did() -> None:
    coder = linear_coder(Threshold(torch.full((12,), 0.5), trained=TopK(3)))
    other = readings(coder)["the 3 largest are active"]
    assert torch.equal(output(other), output(replace(coder, rule=TopK(3))))


def test_the_right_reading_explains_most() -> None:
    # What an old transcoder of sparsify wrote, which subtracted its bias.
    coder = random_coder(skip=False)
    old = readings(coder)[SUBTRACTED]
    hooked = Hooked(X[None], output(old)[None])
    left = []
    for one in (old, coder):
        measured = Fit(one, first_position=0)
        measured.add(hooked)
        left.append(measured.fvu)
    assert left[0] < 1e-9 < left[1]
