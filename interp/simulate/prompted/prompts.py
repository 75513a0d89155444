"""Prompt files and the layout of a text, which the prompted simulators share."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp.llm.llm import Answers
from interp.simulate.protocol import Ask
from interp.simulate.reads import Reading

DIGITS = [str(digit) for digit in range(10)]
"""What a simulator answers: 0, silent, to 9, the latent's maximum."""


def template(version: str) -> str:
    """A prompt, with ``{explanation}`` and the like where they belong."""
    return (Path(__file__).parent / f"{version}.txt").read_text(encoding="utf-8")


def asking(version: str, ask: Ask) -> list[str]:
    """A prompt in parts: the instructions, which are always the same, and what is asked."""
    instructions, _, rest = template(version).partition(" {explanation}")
    score = "unknown" if ask.score is None else f"{ask.score:.2f}"
    # On one line, an explanation cannot pass for the lines of text that follow it.
    explanation = " ".join(ask.explanation.split())
    return [instructions, f" {explanation}{rest.replace('{score}', score)}"]


def reading(version: str, ask: Ask, asked: str, note: str) -> Reading:
    """A prompt that ends with what is asked about a text."""
    line = " ".join(ask.explanation.split())
    instructions, rest = asking(version, ask)
    return Reading(f"{instructions} ", line, rest.removeprefix(f" {line}") + asked, note)


def written(token: str) -> str:
    """A token as it is shown: on one line, and without the tab that ends it."""
    return token.replace("\n", "\\n").replace("\t", "\\t")


def expected(answers: Answers) -> NDArray[np.float32]:
    """The expected digit at each place; NaN where it is missing."""
    digits: NDArray[np.float32] = np.arange(10, dtype=np.float32)
    return np.asarray(answers.probabilities @ digits, np.float32)


def reasons(failures: Iterable[str]) -> dict[str, int]:
    """The count of each reason for a missing value."""
    return dict(Counter(filter(None, failures)))
