"""From what a model gives to a distribution over exactly the answers, or to why there is none."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from interp.llm.llm import Answers

UNSEEN_MASS = 0.05
"""At most this much, as a share of what was seen, may the answers have that were not returned."""
TOO_LONG = "The text is too long for the model."
NOT_A_NUMBER = "The model gave something that is not a number."
NOT_RETURNED = "The log-probabilities returned leave out too many of the answers."


def missing(places: int, answers: int, why: str) -> Answers:
    """All places of a query missing for one reason."""
    return Answers(np.full((places, answers), np.nan, np.float32), [why] * places, 0)


def from_logits(logits: NDArray[np.floating], tokens_read: int) -> Answers:
    """The softmax over the answers, of logits or log-probabilities, shape (place, answer)."""
    z = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a row of infinities is found out just below
        exp = np.exp(z - z.max(-1, keepdims=True, initial=-np.inf))
        probabilities = (exp / exp.sum(-1, keepdims=True)).astype(np.float32)
    failed = np.isnan(probabilities).any(-1)
    probabilities[failed] = np.nan
    return Answers(probabilities, [NOT_A_NUMBER if one else "" for one in failed], tokens_read)


def from_top(logprobs: Mapping[str, float], answers: Sequence[str]) -> NDArray[np.float32] | None:
    """The distribution over the answers at one place, from the likeliest tokens only.

    Space around a token is not looked at: “ 7” answers as “7” does. A missing answer is at most as
    likely as the least likely token that was returned. It counts as 0 if all missing answers
    together could have no more than 5% of the probability of the others.

    Returns:
        None if they could have more.
    """
    seen = dict.fromkeys(answers, 0.0)
    for token, logprob in logprobs.items():
        if token.strip() in seen:
            seen[token.strip()] += math.exp(logprob)
    total = sum(seen.values())
    least = min(map(math.exp, logprobs.values()), default=1.0)
    unseen = sum(probability == 0.0 for probability in seen.values())
    if not total or unseen * least > UNSEEN_MASS * total:
        return None
    return np.array([seen[answer] / total for answer in answers], np.float32)
