"""The usage of the prompted simulators, before anything is simulated. Imports no torch."""

from typing import NamedTuple

from interp.errors import InputError
from interp.simulate.prompted.last_token import WINDOW

# Measured with the tokenizer of SmolLM2 on English text; the tests hold them against it.
CHARACTERS_A_TOKEN = 3.6
LINE = 3.0
"""Tokens of the simulator to show one token of the subject on a line of its own."""
MARKS = 9
"""Tokens of a last_token prompt besides explanation and window."""
JSON_PROMPT, JSON_SHOWN, JSON_WRITTEN = 290, 2.9, 6.0
"""Tokens of the JSON prompt; to show a token of the text in it; to write it with its digit."""


class Cost(NamedTuple):
    """Tokens for one explanation. Instructions that are kept for all are not counted."""

    tokens_read: int
    tokens_written: int


def estimate(method: str, explanation: str, *, contexts: int, seq: int) -> Cost:
    """Estimate the usage of simulating an explanation, within a fifth or so.

    Args:
        seq: Tokens that are simulated in each context.

    Raises:
        InputError: There is no such prompted method.
    """
    asked = len(explanation) / CHARACTERS_A_TOKEN
    match method:
        case "all_at_once":
            return Cost(round(asked + LINE * contexts * seq), 0)
        case "last_token":
            windows = sum(min(last, WINDOW) + MARKS for last in range(1, seq + 1))
            return Cost(round(asked + contexts * windows), 0)
        case "json_reply":
            read = contexts * (JSON_PROMPT + asked + JSON_SHOWN * seq)
            return Cost(round(read), round(JSON_WRITTEN * contexts * seq))
    raise InputError(f"There is no prompted method {method!r} whose cost could be estimated.")
