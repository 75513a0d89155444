"""Tokens that explaining and simulating will read and write, before either has run here.

Rough figures, from how the prompts are built. Once the same simulator or explainer has run, what
that took is the better guess, and the only one in seconds.
"""

from typing import NamedTuple

from interp.simulate import cost

EXPLANATION = 140
"""Characters of an explanation that is still to be written, about: 40 tokens."""
PROMPT, ANSWER = 900, 60
"""Tokens of an explainer's prompt with its examples, and of what it answers, about."""
ROUNDS = 2
"""Wordings that refining tries, about."""
JUDGED = 3000
"""Tokens that a judge reads for one explanation, about: 100 short texts."""


class Tokens(NamedTuple):
    """Tokens that a language model reads and writes."""

    read: int
    written: int


def simulating(method: str, explanations: int, *, length: int, contexts: int, seq: int) -> Tokens:
    """Tokens to simulate some explanations on the same number of contexts each.

    Args:
        length: Characters of an explanation, on average.
        seq: Tokens that are simulated in a context.
    """
    asked = round(length / cost.CHARACTERS_A_TOKEN)
    match method:
        case "two_tower":
            # The text is read once for all explanations.
            return Tokens(explanations * asked + (contexts * seq if explanations else 0), 0)
        case "inline":
            return Tokens(explanations * (asked + contexts * (8 + seq)), 0)
    one = cost.estimate(method, " " * length, contexts=contexts, seq=seq)
    return Tokens(explanations * one.tokens_read, explanations * one.tokens_written)


def judging(explanations: int) -> Tokens:
    """Tokens to judge some explanations."""
    return Tokens(explanations * JUDGED, 0)


def explaining(method: str, latents: int) -> Tokens:
    """Tokens to explain some latents, not counting the simulations of refining."""
    rounds = {"lexical": 0, "refine": ROUNDS}.get(method, 1)
    return Tokens(latents * rounds * PROMPT, latents * rounds * ANSWER)
