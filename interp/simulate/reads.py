"""The text that each method's model reads of an explanation, so that a page can show it word by
word.

Needs no torch.
"""

from collections.abc import Sequence
from typing import NamedTuple

from interp.simulate.prompted import all_at_once, json_reply, last_token
from interp.simulate.prompted.prompts import asking, template
from interp.simulate.protocol import Ask

EXPLANATION_TOKENS = 128
"""Tokens of an explanation that trained simulators read; the rest of a longer one is cut off."""


class Reading(NamedTuple):
    """A prompt in three parts. Together they are the exact text."""

    before: str
    explanation: str
    after: str
    note: str
    """What the text does not show, in a sentence."""

    @property
    def text(self) -> str:
        return self.before + self.explanation + self.after


def reading(method: str, version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    """The text that a simulator reads to predict a latent on a text.

    Args:
        tokens: Token strings of the text, without the one that begins the sequence.

    Raises:
        ValueError: There is no such method.
    """
    line = " ".join(ask.explanation.split())
    match method:
        case "all_at_once":
            pieces = all_at_once.query(tokens).pieces
            note = "The activation of each token is read after its tab, in one pass."
            return _parted(version, ask, line, "".join(pieces), note)
        case "last_token":
            (piece,) = last_token.query(tokens[-last_token.WINDOW :]).pieces
            note = "It is asked once for each token; this is the question about the last one."
            return _parted(version, ask, line, piece, note)
        case "json_reply":
            before = template(version).partition("{explanation}")[0].format()
            asked = json_reply.message(ask, tokens)["content"]
            after = asked[len(before) + len(ask.explanation) :]
            note = "It answers with one number a token, as text."
            return Reading(before, ask.explanation, after, note)
        case "inline":
            note = f"Of the explanation it reads at most the first {EXPLANATION_TOKENS} tokens."
            return Reading("", line, "\n" + "".join(tokens), note)
        case "two_tower":
            note = (
                f"One tower reads this and nothing else, at most its first {EXPLANATION_TOKENS} "
                "tokens; the other tower reads the text."
            )
            return Reading("", ask.explanation, "", note)
    raise ValueError(f"There is no method {method!r}.")


def _parted(version: str, ask: Ask, line: str, asked: str, note: str) -> Reading:
    """A prompt that ends with what is asked about a text."""
    instructions, rest = asking(version, ask)
    return Reading(f"{instructions} ", line, rest.removeprefix(f" {line}") + asked, note)
