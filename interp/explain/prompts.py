"""Prompts as chats, from templates and plain data.

Templates are files ``prompts/<version>.jinja``. A changed prompt is a new version. Nothing here
needs torch, so a web page can show a prompt exactly as the language model would get it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interp.errors import ItemError
from interp.llm.llm import Message
from interp.llm.templates import marked, render
from interp.simulate.protocol import TOP

PROMPTED = "prompted-1"
CONTRASTIVE = "contrastive-1"
REFINE = "refine-1"

PROMPTS = Path(__file__).parent / "prompts"

BEFORE, AFTER = 24, 8
"""Tokens that are shown before and after the one an example is about: the model reads from left to
right, so what comes before says more."""


class Shown(NamedTuple):
    """A context and a latent's activations on it."""

    tokens: Sequence[str]
    activations: Sequence[float]


READ = {"top": 5, "quantile": 3, "hard_negative": 3}
"""Examples of each kind that a prompt shows, the first ones by rank. Pages show more."""


class Error(NamedTuple):
    """A context on which a simulation is wrong, most of all at one position."""

    tokens: Sequence[str]
    real: Sequence[float]
    simulated: Sequence[float]
    """Calibrated: on the scale of the real activations."""
    position: int


def prompted(examples: Sequence[Shown], *, maximum: float, first_position: int) -> list[Message]:
    """Ask what the tokens have in common on which a latent is active.

    Args:
        examples: Contexts with activations, such as the latent's top and quantile examples.
        maximum: The latent's largest activation on the explain set.
        first_position: Positions before it are not shown.

    Raises:
        ItemError: The latent is active in none of the examples.
    """
    return chat(PROMPTED, examples=_active(examples, maximum, first_position))


def contrastive(
    examples: Sequence[Shown],
    hard_negatives: Sequence[Sequence[str]],
    *,
    maximum: float,
    first_position: int,
) -> list[Message]:
    """Ask the same, shown also where the latent stays silent although the text is similar.

    Args:
        hard_negatives: Token strings of contexts where the latent is silent, with tokens that it is
            active on in the examples, or with tokens that come before those.

    Raises:
        ItemError: The latent is active in none of the examples, or there is no hard negative.
    """
    if not hard_negatives:
        raise ItemError("There is no hard negative of this latent. Use the prompt without them.")
    alike = _alike(examples, first_position)
    found = [(tokens, _lookalikes(tokens, alike, first_position)) for tokens in hard_negatives]
    # What is like no token of the examples shown teaches little beside what is.
    found = [(tokens, at) for tokens, at in found if at] or found
    silent = [
        _line(tokens, dict.fromkeys(at, "0"), at[0] if at else None, first_position)
        for tokens, at in found
    ]
    return chat(CONTRASTIVE, examples=_active(examples, maximum, first_position), silent=silent)


def refine(
    explanation: str,
    examples: Sequence[Shown],
    false_positives: Sequence[Error],
    false_negatives: Sequence[Error],
    *,
    maximum: float,
    first_position: int,
) -> list[Message]:
    """Ask for a better explanation, shown where a simulation by it is most wrong.

    Raises:
        ItemError: There is no error to learn from.
    """
    if not false_positives and not false_negatives:
        raise ItemError("The simulation has no error that could be shown.")

    def line(error: Error) -> str:
        marks = {}
        for i in range(first_position, len(error.tokens)):
            said, real = strength(error.simulated[i], maximum), strength(error.real[i], maximum)
            if said or real or i == error.position:
                marks[i] = f"said {said}, is {real}"
        return _line(error.tokens, marks, error.position, first_position)

    return chat(
        REFINE,
        explanation=" ".join(explanation.split()),
        examples=_active(examples, maximum, first_position) if examples else [],
        false_positives=[line(error) for error in false_positives],
        false_negatives=[line(error) for error in false_negatives],
    )


def strength(activation: float, maximum: float) -> int:
    """An activation from 0 (silent) to 9 (the latent's maximum), at least 1 where it is active."""
    if not activation > 0:
        return 0
    return min(max(round(activation / maximum * TOP), 1), int(TOP))


def chat(version: str, **data: Any) -> list[Message]:
    """Render one of this folder's templates with its data."""
    return render(PROMPTS / f"{version}.jinja", **data)


def _active(examples: Sequence[Shown], maximum: float, first_position: int) -> list[str]:
    """The examples on which the latent is active, one line each."""
    lines = []
    for example in examples:
        marks = {
            i: str(strength(value, maximum))
            for i, value in enumerate(example.activations)
            if i >= first_position and value > 0
        }
        if marks:
            peak = max(marks, key=lambda i: example.activations[i])
            lines.append(_line(example.tokens, marks, peak, first_position))
    if not lines:
        raise ItemError("The latent is active in none of its examples, so none can be shown.")
    return lines


def _line(tokens: Sequence[str], marks: dict[int, str], at: int | None, first: int) -> str:
    """Some tokens around a position (or the last ones) on one line, with their marks."""
    at = len(tokens) - 1 if at is None else at
    start = max(first, at - BEFORE)
    shown = tokens[start : at + AFTER + 1]
    return marked(shown, {i - start: f"({mark})" for i, mark in marks.items()})


def _key(token: str) -> str:
    return token.strip(" ").lower()


def _alike(examples: Sequence[Shown], first: int) -> tuple[set[str], set[str]]:
    """The tokens on which the latent is active in some examples, and those just before them."""
    active, before = set(), set()
    for tokens, activations in examples:
        for i in range(first, len(tokens)):
            if activations[i] > 0 and tokens[i]:
                active.add(_key(tokens[i]))
                if i > first:
                    before.add(_key(tokens[i - 1]))
    return active, before


def _lookalikes(tokens: Sequence[str], alike: tuple[set[str], set[str]], first: int) -> list[int]:
    """Positions of tokens like the active ones; if there is none, of those after a like token."""
    active, before = alike
    same = [i for i in range(first, len(tokens)) if tokens[i] and _key(tokens[i]) in active]
    return same or [i for i in range(first + 1, len(tokens)) if _key(tokens[i - 1]) in before]
