"""Collect the activations of all latents on many contexts."""

import torch
from jaxtyping import Int
from torch import Tensor

from interp.coders.protocol import Coder, coder_input, encoded, refuse_non_finite
from interp.corpus.activations import Shard
from interp.model.subject import Subject


@torch.inference_mode()
def collect(
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
    first_context: int = 0,
    tokens_at_once: int | None = None,
) -> Shard:
    """Run the subject model to its hookpoint and keep which latents are active where.

    Beside the result, memory is needed for some tokens, however long and many the contexts are.

    Args:
        first_position: Positions before it are left out: such as a beginning-of-sequence token,
            whose huge activations say nothing about text.
        first_context: Number of the first context in its set, for errors.
        tokens_at_once: See :meth:`interp.model.subject.Subject.captures`.

    Raises:
        InputError: The model or the coder puts out infinity or what is no number (NaN).
    """
    seq = tokens.shape[1]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    output_sum = torch.zeros(coder.d_out, dtype=torch.float64)
    for start, hooked in subject.captures(tokens, tokens_at_once):
        x = coder_input(coder, hooked)[:, first_position:]
        output_sum += hooked.output[:, first_position:].double().sum((0, 1)).cpu()
        latents = encoded(coder, x.flatten(0, 1))
        for what, values in (
            ("the module reads", hooked.input[:, first_position:]),
            ("the module puts out", hooked.output[:, first_position:]),
            ("the coder puts out", latents.activations.unflatten(0, x.shape[:2])),
        ):
            refuse_non_finite(what, values, first_context=first_context + start)
        active = latents.activations > 0
        token = active.nonzero()[:, 0].cpu()
        kept = seq - first_position
        position = (start + token // kept) * seq + first_position + token % kept
        parts.append((latents.indices[active].cpu(), position, latents.activations[active].cpu()))
    indices, positions, activations = (torch.cat(p) for p in zip(*parts, strict=True))
    order = indices.argsort(stable=True)
    counts = indices.bincount(minlength=coder.num_latents)
    return Shard(
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]).numpy(),
        positions[order].int().numpy(),
        activations[order].numpy(),
        output_sum.numpy(),
        tokens.shape[0] * (seq - first_position),
    )
