"""Scales and lengths folded into a coder's weights change what it computes as they should."""

from dataclasses import replace

import pytest
import torch

from interp.coders.linear import LinearCoder, scaled, with_norms
from interp.coders.rules import Threshold, TopK
from tests.engine import CODERS, D_MODEL, linear_coder

X = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(1))
LINEAR = {
    name: coder
    for name, coder in CODERS.items()
    if isinstance(coder, LinearCoder) and coder.normalise is None
}


def output(coder: LinearCoder, x: torch.Tensor) -> torch.Tensor:
    return coder.decode(coder.encode(x), x)


@pytest.mark.parametrize("name", LINEAR)
def test_scales_are_folded(name: str) -> None:
    coder, read, written = LINEAR[name], 0.3, 1.7
    folded = scaled(coder, read=read, written=written)
    latents, expected = folded.encode(X), coder.encode(X * read)
    assert torch.equal(latents.indices, expected.indices)
    torch.testing.assert_close(latents.activations, expected.activations, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        output(folded, X), output(coder, X * read) / written, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", LINEAR)
def test_slopes_of_a_folded_coder_are_its_own(name: str) -> None:
    folded = scaled(LINEAR[name], read=0.3, written=1.7)
    gradient = torch.ones(len(X), D_MODEL)
    torch.testing.assert_close(
        folded.slopes(gradient, X), LINEAR[name].slopes(gradient, X) / 1.7, rtol=1e-5, atol=1e-5
    )


def test_lengths_are_folded_into_activations() -> None:
    relu = linear_coder(Threshold(torch.zeros(12)))
    folded = with_norms(relu)
    torch.testing.assert_close(folded.decoder.norm(dim=1), torch.ones(12))
    torch.testing.assert_close(output(folded, X), output(relu, X), rtol=1e-5, atol=1e-5)
    # Of the products with the lengths, the largest are selected.
    by_length = linear_coder(TopK(3, weights=relu.decoder.norm(dim=1)))
    largest = with_norms(replace(relu, rule=TopK(3)))
    torch.testing.assert_close(output(largest, X), output(by_length, X), rtol=1e-5, atol=1e-5)
