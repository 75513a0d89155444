"""The module's own outputs on some text, to be drawn from by :func:`.splice.resample`."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.model.subject import Subject
from interp.vocabulary import Protocol

OUTPUTS = 8192
"""The most outputs that are kept: 19 MB at 576 dimensions, 134 MB at 4,096."""


@torch.inference_mode()
def sampled_outputs(
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    *,
    protocol: Protocol,
    first_position: int,
    seed: int,
) -> Float[Tensor, "output d_model"]:
    """The module's own outputs at random spliced positions, equally many of each context.

    They are all outputs if these are no more than ``OUTPUTS``. Contexts are run some at once, and
    only what is kept of them stays in memory.

    Args:
        tokens: At most ``OUTPUTS`` contexts.
    """
    where = protocol.spliced(tokens.shape[1], first_position)
    positions = where.stop - where.start
    each = min(positions, OUTPUTS // len(tokens))
    kept = []
    for start, hooked in subject.captures(tokens):
        for row, output in enumerate(hooked.output[:, where], start):
            drawn = np.random.default_rng([seed, row]).permutation(positions)[:each]
            kept.append(output[torch.from_numpy(drawn).to(output.device)])
    return torch.cat(kept)
