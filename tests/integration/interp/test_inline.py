"""The inline simulator trained from the real model."""

from pathlib import Path

import torch

from interp.simulate.inline.base import Base, Shape
from tests.engine import smollm2


@torch.no_grad()
def test_a_real_base_reads_another_models_tokens(model_cache: Path) -> None:
    """Texts cut up in another way than its tokenizer does it, together and one by one."""
    subject = smollm2(model_cache)
    base = Base(subject.model, subject.tokenizer, Shape(apart=4, together=3))
    base.add_fold()
    texts = base.texts(
        [["It", "’", "s 1,0", "05", " of the", "m.\n\n"], ["\n", " é", "🙂", "Th", "is", ""]]
    )
    explanation = base.read(base.explanation("Digits of round numbers such as “50”."))
    found = base.logits(explanation, [text for text in texts if text is not None])
    for text, together in zip(texts, found, strict=True):
        assert text is not None and together.shape == (6, 10)
        (alone,) = base.logits(explanation, [text])
        torch.testing.assert_close(alone, together, atol=1e-3, rtol=1e-3)
    assert torch.equal(found[1][4], found[1][5])  # nothing is added to “This”
