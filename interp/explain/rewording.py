"""Explanations reworded by rule, to see which part of them a simulator goes by.

A simulator that reads language gives like values for a paraphrase, and others for other words. One
that only finds the quoted words gives like values without the prose. No rule looks at activations.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from interp.errors import InputError
from interp.explain.files import read
from interp.vocabulary import Variant

GENERIC = "Fires on some tokens."
"""It says nothing of any latent. It also stands where a rule leaves no text: a text without a
quotation has no quoted words."""
PLACEHOLDER = "it"
MOST_GIVEN = 12
"""Variants in a file, at most."""
_MARKS = re.compile(r"[“”„«»\"]")
"""Quotation marks that stand alone. An apostrophe may be one, and is left."""
_QUOTATION = re.compile(
    r"“([^“”]*)”|„([^“”]*)[“”]|«([^«»]*)»|\"([^\"]*)\"|(?<!\w)[‘']([^‘’']+)[’'](?!\w)"
)


def quotations(text: str) -> list[str]:
    """The texts in quotation marks, in their order, without the empty ones."""
    return [found for match in _QUOTATION.finditer(text) if (found := _inside(match).strip())]


def _inside(match: re.Match[str]) -> str:
    return next(filter(None, match.groups()), "")


def reworded(
    variant: Variant, explanations: Mapping[int, str], *, seed: int
) -> Iterator[tuple[int, str]]:
    """Explanations under a variant.

    Args:
        explanations: By the latent's index.
        seed: Fixes what is drawn.

    Yields:
        The latent and its text, which is never empty.
    """
    rng = np.random.default_rng([seed, list(Variant).index(variant)])
    others = _others(list(explanations.values()), rng)
    words = [word for text in explanations.values() for word in text.split()]
    for (latent, text), other in zip(explanations.items(), others, strict=True):
        match variant:
            case Variant.ORIGINAL:
                new = text
            case Variant.NO_MARKS:
                new = _MARKS.sub("", _QUOTATION.sub(_inside, text))
            case Variant.QUOTED:
                new = ", ".join(quotations(text))
            case Variant.PROSE:
                new = _QUOTATION.sub(PLACEHOLDER, text)
                if not _words(new) - {PLACEHOLDER}:
                    new = ""
            case Variant.SHUFFLED:
                own = text.split()
                new = " ".join(own[i] for i in rng.permutation(len(own)))
            case Variant.CAPITALS:
                new = text.upper()
            case Variant.RANDOM_WORDS:
                new = " ".join(words[i] for i in rng.integers(0, len(words), len(text.split())))
            case Variant.OTHERS:
                new = other
            case Variant.GENERIC:
                new = GENERIC
        yield latent, new.strip() or GENERIC


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _others(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """For each place the text of another one, drawn at random: each is taken once. One text alone
    has no other: the generic one stands there."""
    if len(texts) < 2:
        return [GENERIC] * len(texts)
    # All in a ring of random order, each gets its neighbour's.
    ring = rng.permutation(len(texts))
    found = [""] * len(texts)
    for place, neighbour in zip(ring, np.roll(ring, 1), strict=True):
        found[place] = texts[neighbour]
    return found


def label(name: str, *, given: bool) -> str:
    """The name of a variant as people read it.

    Args:
        given: True of the variants of a file, which name themselves.
    """
    return name if given else Variant(name).label


def given(path: Path) -> dict[str, dict[int, str]]:
    """The variants of a file of explanations: the author names the variant.

    Returns:
        By variant, the text of each latent. Of several texts of one latent the last counts.

    Raises:
        InputError: The file cannot be read, a line of it is no explanation, or it has too many
            variants.
    """
    found: dict[str, dict[int, str]] = {}
    try:
        with path.open("rb") as file:
            for _, written in read(file, path.name):
                found.setdefault(written.author, {})[written.latent] = written.text
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(found) > MOST_GIVEN:
        raise InputError(
            f"{path.name} names {len(found)} authors, and each is a variant: {MOST_GIVEN} at most."
        )
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file of variants.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
