"""The inline simulator, for the registry."""

from collections.abc import Sequence

from interp.llm.usage import CHARACTERS_A_TOKEN, Tokens
from interp.simulate.method import Trained, TrainingSettings
from interp.simulate.protocol import Ask
from interp.simulate.reads import EXPLANATION_TOKENS, Reading

BEFORE = 8
"""Tokens that a text costs besides its own, for attention to the explanation."""


class Settings(TrainingSettings, frozen=True):
    """The length of the training and the amount of its data."""

    folds: int = 2
    steps: int = 400
    """Of each fold."""
    latents: int = 8
    """In one step."""
    contexts: int = 8
    """Of each latent in one step."""
    learning_rate: float = 1e-3
    validation_contexts: int = 24
    """Of each latent that the training is watched on, and of each held-out one."""
    check_every: int = 100
    """Steps between looks at the validation latents, and between checkpoints."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    seed: int = 0


def _usage(explanations: int, *, length: int, contexts: int, seq: int) -> Tokens:
    asked = round(length / CHARACTERS_A_TOKEN)
    return Tokens(explanations * (asked + contexts * (BEFORE + seq)), 0)


def _reads(version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    line = " ".join(ask.explanation.split())
    note = f"Of the explanation it reads at most the first {EXPLANATION_TOKENS} tokens."
    return Reading("", line, "\n" + "".join(tokens), note)


INLINE = Trained(
    name="inline",
    meaning="a fine-tuned language model reads the explanation, then the text",
    usage=_usage,
    reads=_reads,
    loader="interp.simulate.inline.simulator:Inline",
    trainer="interp.simulate.inline.train:train",
    settings=Settings,
)
