"""The latents that fire on a text that somebody typed."""

from collections.abc import Sequence

import torch

from interp.coders.protocol import Coder, coder_input
from interp.model.subject import Subject


@torch.inference_mode()
def active_latents(
    subject: Subject, coder: Coder, tokens: Sequence[int], *, first_position: int
) -> list[list[tuple[int, float]]]:
    """The active latents of each token, strongest first.

    Args:
        tokens: See :func:`interp.rewriting.generate.encode_prompt`.
        first_position: No latent is given for positions before it.

    Returns:
        For each token its latents as (index, activation), of activations above zero.
    """
    if len(tokens) <= first_position:
        return [[]] * len(tokens)
    hooked = subject.capture(torch.tensor([tokens]))
    found = coder.encode(coder_input(coder, hooked)[0, first_position:].float())
    rows = zip(found.indices.tolist(), found.activations.tolist(), strict=True)
    each = [
        sorted(
            ((index, value) for index, value in zip(*row, strict=True) if value > 0),
            key=lambda one: -one[1],
        )
        for row in rows
    ]
    return [[]] * (len(tokens) - len(each)) + each
