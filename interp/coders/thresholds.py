"""Estimate the threshold of a coder that was trained with batch top-k and whose files hold none.

In training, the k·n largest activations of a batch of n tokens are kept. In use, a threshold stands
for them: the mean over batches of the smallest activation that was kept (Bussmann et al. 2024,
arXiv 2412.06410, section 3).
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coders.linear import LinearCoder
from interp.coders.protocol import ENCODED_AT_ONCE, Coder
from interp.coders.rules import BatchTopK, Threshold, TopK


@torch.inference_mode()
def settled(coder: Coder, vectors: Iterable[Float[Tensor, "token d_in"]]) -> Coder:
    """The coder with a threshold estimated on what it reads; the same one if it needs none.

    Args:
        vectors: Parts of what it reads. They are asked for only if it needs a threshold.
    """
    if not isinstance(coder, LinearCoder) or not isinstance(coder.rule, BatchTopK):
        return coder
    rule = coder.rule
    positive = replace(coder, rule=Threshold(torch.zeros_like(coder.encoder_bias)))
    total, tokens = 0.0, 0
    for part in vectors:
        for batch in part.split(ENCODED_AT_ONCE):
            activations, latents = positive.encode(batch.float())
            ranks = rule.rank(activations, latents)[activations > 0]
            kept = ranks.topk(min(rule.k * len(batch), len(ranks))).values
            total += len(batch) * float(kept.min()) if len(kept) else 0.0
            tokens += len(batch)
    return with_threshold(coder, total / max(1, tokens))


def with_threshold(coder: Coder, threshold: float) -> Coder:
    """A coder of batch top-k with a threshold that was estimated for it; any other as it is."""
    if not isinstance(coder, LinearCoder) or not isinstance(coder.rule, BatchTopK):
        return coder
    rule = coder.rule
    thresholds = torch.full_like(coder.encoder_bias, threshold)
    if rule.weights is not None:
        thresholds = thresholds / rule.weights
    trained = TopK(rule.k, rule.weights)
    return replace(coder, rule=Threshold(thresholds, trained=trained, estimated=threshold))
