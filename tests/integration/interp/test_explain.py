"""The explainers ask the real model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interp.coders.capture import collect
from interp.corpus.activations import LatentActivations
from interp.corpus.contexts import make_contexts
from interp.corpus.documents import load_documents
from interp.corpus.examples import Occurrences, sample_examples, sample_hard_negatives
from interp.explain import prompts
from interp.explain.answers import MAX_TOKENS, ask
from interp.explain.prompts import Shown
from interp.llm.transformers import TransformersLLM
from interp.vocabulary import ContextSet
from tests.engine import demo_coder, smollm2

TAUGHT = {
    *("boot", "coat", "garment", "fasten", "fastening", "lace", "button", "jacket", "zip"),
    *("bee", "beekeeping", "beekeeper", "hive", "honey", "swarm", "insect"),
}
"""What the worked examples of the prompts are about: no answer should be."""


class Latent:
    """Real examples of a latent of the demo coder, on speeches."""

    def __init__(self, active: LatentActivations, tokens: np.ndarray, strings: list[list[str]]):
        seq = tokens.shape[1]
        drawn = sample_examples(
            active, contexts=len(tokens), seq=seq, top=4, quantile=2, random=0, seed=0
        )
        near = sample_hard_negatives(
            active,
            tokens,
            Occurrences.of(tokens, first_position=1),
            first_position=1,
            count=4,
            seed=0,
        )
        self.maximum = float(active.activations.max())
        self.examples = [Shown(strings[e.context], e.activations.tolist()) for e in drawn]
        self.hard_negatives = [strings[e.context] for e in near]


@pytest.fixture(scope="module")
def latents(model_cache: Path) -> list[Latent]:
    subject, coder = smollm2(model_cache), demo_coder()
    contexts = make_contexts(
        load_documents("sotu")[:12],
        subject.tokenizer,
        ContextSet.EXPLAIN,
        length=24,
        limit=96,
        prepend_bos=True,
        seed=0,
    )
    tokens = torch.tensor([context.tokens for context in contexts])
    shard = collect(subject, coder, tokens, first_position=1)
    strings = [[subject.tokenizer.decode([i]) for i in context.tokens] for context in contexts]
    counts = np.diff(shard.offsets)
    chosen = np.abs(counts - 25).argsort(kind="stable")[:2].tolist()
    found = []
    for latent in chosen:
        own = slice(int(shard.offsets[latent]), int(shard.offsets[latent + 1]))
        rows, positions = np.divmod(shard.positions[own].astype(np.int64), 24)
        active = LatentActivations(rows, positions, shard.activations[own])
        found.append(Latent(active, tokens.numpy(), strings))
    return found


def test_a_real_models_answers_do_not_hold_the_worked_examples(
    model_cache: Path, latents: list[Latent]
) -> None:
    subject = smollm2(model_cache)
    llm = TransformersLLM(subject.model, subject.tokenizer)
    chats = []
    for latent in latents:
        options = {"maximum": latent.maximum, "first_position": 1}
        chats.append(prompts.prompted(latent.examples, **options))
        chats.append(prompts.contrastive(latent.examples, latent.hard_negatives, **options))
    explained = ask(llm, chats)
    for one, chat in zip(explained, chats, strict=True):
        assert one.answer is not None
        assert one.tokens_read > 400
        assert 0 < one.tokens_written <= MAX_TOKENS
        assert one.seconds > 0
        assert (one.text is None) == bool(one.failure)
        if one.text is not None:
            words = {word.strip("“”\"'.,;").lower() for word in one.text.split()}
            own = chat[-1]["content"].lower()
            taught = {stem for stem in TAUGHT if stem not in own}
            assert not {w for w in words if w in taught or w.removesuffix("s") in taught}
            assert one.text in " ".join(one.answer.split())
    assert any(one.text for one in explained), [one.failure for one in explained]
