"""The sanity checks pass where the rewriting is right, and fail where it is not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.protocol import Coder
from interp.coders.rules import Latents
from interp.rewriting.checks import (
    Result,
    Setting,
    an_oracle_recovers_everything,
    explanations_are_read,
    order_changes_nothing,
    permuted_explanations_are_worse,
    real_latents_are_the_coder,
    two_draws_agree,
    zero_answers_are_the_set_zeroed,
)
from interp.vocabulary import Outcome
from tests.engine import (
    CODERS,
    CONTEXTS,
    MLP,
    SEQ,
    random_coder,
    random_tokens,
    simulations,
    tiny_subject,
)

EXACT = (
    real_latents_are_the_coder,
    an_oracle_recovers_everything,
    zero_answers_are_the_set_zeroed,
    order_changes_nothing,
)


def setting(
    architecture: str = "llama", coder: Coder | None = None, contexts: int = CONTEXTS
) -> Setting:
    coder = random_coder() if coder is None else coder
    tokens = random_tokens(contexts, SEQ)
    return Setting(tiny_subject(architecture), coder, tokens, 1, [1, 4, 7])


@pytest.mark.parametrize("architecture", MLP)
@pytest.mark.parametrize("kind", CODERS)
@pytest.mark.parametrize("check", EXACT)
def test_they_pass_where_the_rewriting_is_right(check: Any, kind: str, architecture: str) -> None:
    result: Result = check(setting(architecture, CODERS[kind]))
    assert result.outcome is Outcome.PASSED, result.detail
    assert "nats" in result.detail


@dataclass(frozen=True)
class Altered:
    """A real coder that encodes otherwise than it says."""

    coder: SparsifyCoder
    widened: int = 0
    """Gives so many more latents than its k."""
    by_batch: bool = False
    """Scales activations by the largest of the batch, as coders do that normalise over it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coder, name)

    def encode(self, x: Tensor) -> Latents:
        module = self.coder.module
        if self.widened:
            everything = torch.relu(x @ module.encoder.weight.mT + module.encoder.bias)
            return Latents(*everything.topk(module.cfg.k + self.widened))
        top = self.coder.encode(x)
        return Latents(top.activations / top.activations.max(), top.indices)

    def decode(self, latents: Latents, x: Tensor) -> Tensor:
        return self.coder.decode(latents, x)


def test_a_coder_with_more_latents_than_its_k_is_found_out() -> None:
    # The mixture keeps k latents, the coder's own forward more.
    altered = Altered(random_coder(), widened=3)
    result = real_latents_are_the_coder(setting(coder=altered))
    assert result.outcome is Outcome.FAILED


def test_a_coder_that_depends_on_its_batch_is_found_out() -> None:
    altered = Altered(random_coder(), by_batch=True)
    assert order_changes_nothing(setting(coder=altered)).outcome is Outcome.FAILED


def test_two_draws_of_like_text_agree() -> None:
    documents = [f"document {i // 2}" for i in range(24)]
    result = two_draws_agree(setting(contexts=24), documents, contexts=8, seed=0)
    assert result.outcome is Outcome.PASSED, result.detail
    assert "8 and 8 contexts" in result.detail


def test_one_document_is_no_two_draws() -> None:
    result = two_draws_agree(setting(), ["one"] * CONTEXTS, contexts=3, seed=0)
    assert result.outcome is Outcome.CANNOT_TELL


def test_of_useless_explanations_it_cannot_be_told() -> None:
    of = setting(contexts=40)
    documents = [str(i) for i in range(40)]
    useless = simulations(of, lambda real: np.ones_like(real))
    result = permuted_explanations_are_worse(of, useless, documents, seed=0)
    assert result.outcome is Outcome.CANNOT_TELL, result.detail


@pytest.mark.parametrize(
    ("lead", "spread", "outcome"),
    [
        (0.3, 0.1, Outcome.PASSED),
        (0.0, 0.01, Outcome.FAILED),
        (-0.2, 0.01, Outcome.FAILED),
        (0.0, 2.0, Outcome.CANNOT_TELL),
    ],
)
def test_a_simulator_that_ignores_the_explanation_is_found_out(
    lead: float, spread: float, outcome: Outcome
) -> None:
    rng = np.random.default_rng(0)
    others = rng.uniform(0, 0.3, 64)
    own = others + lead + spread * (rng.permutation(64) / 63 - 0.5)
    own[3] = np.nan
    found = explanations_are_read(own, others, seed=0)
    assert found.outcome is outcome
    assert "63 latents" in found.detail
    assert ("ignores" in found.detail) == (outcome is Outcome.FAILED)


def test_one_latent_says_nothing_of_the_simulator() -> None:
    found = explanations_are_read(np.array([0.5, np.nan]), np.array([0.0, 0.1]), seed=0)
    assert found.outcome is Outcome.CANNOT_TELL


def test_one_explanation_cannot_be_permuted() -> None:
    of = setting()._replace(latents=[3])
    one = simulations(of, lambda real: real)
    result = permuted_explanations_are_worse(of, one, ["a"] * CONTEXTS, seed=0)
    assert result.outcome is Outcome.CANNOT_TELL
