"""The latents that fire on a sentence."""

import numpy as np
import pytest
import torch

from interp.coders.protocol import coder_input
from interp.coders.sentence import active_latents
from tests.engine import CODERS, tiny_subject


@pytest.mark.parametrize("kind", CODERS)
def test_what_is_active_is_what_the_coder_says(kind: str) -> None:
    subject, coder = tiny_subject(), CODERS[kind]
    tokens = [49, 3, 7, 3]
    found = active_latents(subject, coder, tokens, first_position=1)
    assert found[0] == [] and len(found) == 4
    x = coder_input(coder, subject.capture(torch.tensor([tokens])))[0]
    for place in (1, 2, 3):
        latents = coder.encode(x[place : place + 1])
        dense = np.zeros(coder.num_latents)
        dense[latents.indices[0]] = latents.activations[0]
        mine = np.zeros(coder.num_latents)
        for index, value in found[place]:
            mine[index] = value
        np.testing.assert_allclose(mine, np.maximum(dense, 0), rtol=1e-5)
        values = [value for _, value in found[place]]
        assert values == sorted(values, reverse=True) and min(values, default=1) > 0
