"""Variants of a lexical explanation: the same content in other words, as different people write.

Simulators that learn from examples should learn more than one way to word an explanation.
"""

from collections.abc import Sequence

import numpy as np

from interp.explain.lexical import VISIBLE, LexicalExplanation, Term

OPENINGS = (
    "{}",
    "Fires on {}.",
    "fires on {}",
    "Active on {}.",
    "The latent activates on {}.",
    "Responds to {}",
    "mostly {}",
)
ONE, SEVERAL = ("", "", "the word "), ("", "", "the words ", "words like ")
INSTANCES = (
    "many different words, such as ",
    "various words: ",
    "words like ",
    "a range of words: ",
)
QUOTES = ("{}", "{}", "“{}”", '"{}"', "'{}'")
AFTER = (" after {}", " following {}", " (after {})", " when {} comes before")
CONJUNCTIONS = (" and ", " or ", ", ")
FEWEST_INSTANCES, MOST_WORDS, MOST_BEFORE = 3, 6, 3


def variants(explanation: LexicalExplanation, *, count: int, seed: int) -> list[str]:
    """Shorter and reworded texts of the same content, without figures.

    Each names some of the words that the latent is most active on, in another manner.

    Args:
        count: Number of variants. There may be fewer if the explanation says little.
        seed: Fixes the variants.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    for _ in range(4 * count):
        found[_variant(explanation, rng)] = None
        if len(found) == count:
            break
    return list(found)


def _variant(explanation: LexicalExplanation, rng: np.random.Generator) -> str:
    instances = explanation.coverage is None
    fewest = FEWEST_INSTANCES if instances else 1
    terms = explanation.terms[: int(rng.integers(fewest, MOST_WORDS + 1))]
    quote, after = _one(QUOTES, rng), _one(AFTER, rng)
    nouns = INSTANCES if instances else SEVERAL if len(terms) > 1 else ONE
    noun = _one(nouns, rng)
    if not instances and any(term.word in VISIBLE for term in terms):
        noun = ""
    named = _listed([_term(term, quote, after, rng) for term in terms], _one(CONJUNCTIONS, rng))
    return _one(OPENINGS, rng).format(noun + named)


def _term(term: Term, quote: str, after: str, rng: np.random.Generator) -> str:
    word = _quoted(term.word, quote)
    # A word that is named on its own too can do without what makes it more likely.
    if not term.after or (term.rate is not None and rng.random() < 0.5):
        return word
    before = [_quoted(one, quote if quote != "{}" else "“{}”") for one in term.after[:MOST_BEFORE]]
    return word + after.format(_listed(before, " or "))


def _listed(words: Sequence[str], conjunction: str) -> str:
    *others, last = words
    return f"{', '.join(others)}{conjunction}{last}" if others else last


def _quoted(word: str, quote: str) -> str:
    """A word in quotation marks, or as it is. Signs need them."""
    return VISIBLE.get(word) or (quote if word[0].isalnum() else "“{}”").format(word)


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
