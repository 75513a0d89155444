"""The outputs that a resample ablation draws from."""

import pytest
import torch

from interp.rewriting import outputs
from interp.rewriting.outputs import sampled_outputs
from interp.vocabulary import Protocol
from tests.engine import random_tokens, tiny_subject

TOKENS = random_tokens(6, 7)


@pytest.mark.parametrize(("protocol", "positions"), [(Protocol.WHOLE, 5), (Protocol.PAPER, 1)])
def test_few_outputs_are_all_kept(protocol: Protocol, positions: int) -> None:
    subject = tiny_subject()
    found = sampled_outputs(subject, TOKENS, protocol=protocol, first_position=1, seed=0)
    own = subject.capture(TOKENS).output[:, protocol.spliced(7, 1)]
    assert found.shape == (6 * positions, own.shape[-1])
    for context, kept in zip(own, found.view(6, positions, -1), strict=True):
        assert sorted(kept.tolist()) == sorted(context.tolist())


def test_of_many_as_many_of_each_context_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "OUTPUTS", 17)
    subject = tiny_subject()
    own = subject.capture(TOKENS).output[:, 1:6]

    def drawn(seed: int) -> torch.Tensor:
        found = sampled_outputs(
            subject, TOKENS, protocol=Protocol.WHOLE, first_position=1, seed=seed
        )
        return found.view(6, 2, -1)

    for context, kept in zip(own.tolist(), drawn(0).tolist(), strict=True):
        assert kept[0] != kept[1]
        assert all(one in context for one in kept)
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "OUTPUTS", 12)
    subject = tiny_subject()
    options = {"protocol": Protocol.WHOLE, "first_position": 1, "seed": 3}
    together = sampled_outputs(subject, TOKENS, **options)
    monkeypatch.setattr("interp.model.subject.TOKENS_AT_ONCE", {"cpu": 14})
    torch.testing.assert_close(sampled_outputs(subject, TOKENS, **options), together)
