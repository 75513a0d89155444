"""Documents told apart by their text, so that copies under other names count as one document.

Two texts are the same if they agree but for white space and Unicode's compatible forms (NFKC). A
text is nearly the same as a longer one, or as much of it, if that has at least ``SHARED`` of its
*shingles*: runs of five words, without case and punctuation.

A document's shingles are hashed. Its *sketch* is the ``SKETCH`` smallest hashes: a random sample of
its shingles, and the same ones wherever the text stands. Candidates share half of a sketch. Then
all their shingles are compared.
"""

import hashlib
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from interp.corpus.documents import Document

Hashes = NDArray[np.uint64]

WORDS = 5
"""In a shingle."""
SHARED = 0.8
"""Share of the smaller document's shingles that a copy has."""
SKETCH = 8
"""Hashes in a sketch."""
CANDIDATES = 32
"""Documents that are looked up by one hash at most. What many share, as a licence, tells little."""

_WORD = re.compile(r"\w+")
_SPACELESS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)
"""Characters of scripts that put no spaces between words. Each counts as a word."""


class Identity(NamedTuple):
    """The identity of a text, under whatever name."""

    hash: str
    """Of the normalised text: 32 hexadecimal digits of its SHA-256."""
    sketch: str
    """The smallest hashes of its shingles, in order, 16 hexadecimal digits each."""


class Distinct(NamedTuple):
    """The documents of a corpus without copies."""

    documents: list[Document]
    copies: dict[str, list[Document]]
    """By the name of the document that is kept, those that were left out as copies of it."""
    identities: dict[str, Identity]
    """Of each document that is kept, by its name."""


def text_hash(text: str) -> str:
    """The hash of a text, see :class:`Identity`."""
    normal = " ".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def identity(text: str) -> Identity:
    """The identity of a text."""
    return _identity(text_hash(text), _sketch(shingles(text)))


def _identity(hashed: str, sketch: Hashes) -> Identity:
    return Identity(hashed, sketch.astype(">u8").tobytes().hex())


def shingles(text: str) -> Hashes:
    """The hashes of a text's shingles, each once, in order.

    A text of fewer words is one shingle.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not plain.isascii():
        plain = _SPACELESS.sub(r" \g<0> ", plain)
    found = _WORD.findall(plain)
    # Texts repeat their words.
    hash_of = {word: crc32(word.encode("utf-8", "surrogatepass")) for word in set(found)}
    words = np.fromiter(map(hash_of.__getitem__, found), np.uint64, len(found))
    if len(words) < WORDS:
        missing = WORDS - len(words) - (not len(words))
        # A text without words has its own hash for one.
        words = words if len(words) else np.array([crc32(text_hash(text).encode())], np.uint64)
        words = np.pad(words, (0, missing))
    hashed = np.zeros(len(words) - WORDS + 1, np.uint64)
    for place in range(WORDS):
        hashed = _mix(hashed + words[place : place + len(hashed)])
    return np.unique(hashed)


def _mix(x: Hashes) -> Hashes:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of ``x``."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _sketch(hashes: Hashes) -> Hashes:
    return hashes[:SKETCH].copy()  # a view would keep all of them


def distinct(documents: Sequence[Document]) -> Distinct:
    """Leave out documents that are copies of others, or nearly, or parts of them.

    The longest one of its kind is kept, of equally long ones the first by name. Time is linear in
    the text. Beside the text, memory is needed for a sketch of each document.
    """
    first: dict[str, int] = {}
    copy_of: dict[int, int] = {}
    order = sorted(
        range(len(documents)), key=lambda i: (-len(documents[i].text), documents[i].name)
    )
    for number in order:
        kept = first.setdefault(text_hash(documents[number].text), number)
        if kept != number:
            copy_of[number] = kept
    sketches, near = _near_copies(documents, list(first.values()))
    copy_of |= near
    copies: dict[str, list[Document]] = {}
    for number, kept in copy_of.items():
        while kept in copy_of:  # the one that it equals is nearly a third one
            kept = copy_of[kept]
        copies.setdefault(documents[kept].name, []).append(documents[number])
    left = [document for number, document in enumerate(documents) if number not in copy_of]
    identities = {
        documents[number].name: _identity(hashed, sketch)
        for (hashed, number), sketch in zip(first.items(), sketches, strict=True)
        if number not in copy_of
    }
    return Distinct(left, copies, identities)


def _near_copies(
    documents: Sequence[Document], numbers: Sequence[int]
) -> tuple[list[Hashes], dict[int, int]]:
    """The sketches of some documents, and those that are nearly others, or parts of them, with the
    one that is kept."""
    sizes = array("q")
    sketches: list[Hashes] = []
    for number in numbers:
        hashes = shingles(documents[number].text)
        sizes.append(len(hashes))
        sketches.append(_sketch(hashes))
    index = _Index(sketches)

    @lru_cache(maxsize=64)
    def of(place: int) -> Hashes:
        return shingles(documents[numbers[place]].text)

    copy_of: dict[int, int] = {}
    # From the largest on: what a document is a part of has been seen before it.
    for place in sorted(range(len(numbers)), key=lambda place: -sizes[place]):
        hashes = of(place)
        for other in index.candidates(sketches[place]):
            if np.isin(hashes, of(other), assume_unique=True).mean() >= SHARED:
                copy_of[numbers[place]] = numbers[other]
                break
        else:
            index.add(place, hashes)
    return sketches, copy_of


class _Index:
    """The documents that have a hash, for the hashes that are in some document's sketch."""

    def __init__(self, sketches: Iterable[Hashes]) -> None:
        self._hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *sketches]))
        self._newest = np.full(len(self._hashes), -1, np.int64)
        """By hash, its newest entry."""
        self._count = np.zeros(len(self._hashes), np.uint8)
        self._document, self._before = array("q"), array("q")
        """By entry: a document, and the entry before it with the same hash."""

    def add(self, document: int, hashes: Hashes) -> None:
        places = np.searchsorted(self._hashes, hashes)
        places[places == len(self._hashes)] = 0
        places = places[(self._hashes[places] == hashes) & (self._count[places] < CANDIDATES)]
        self._before.extend(self._newest[places].tolist())
        self._newest[places] = np.arange(len(places)) + len(self._document)
        self._count[places] += 1
        self._document.extend([document] * len(places))

    def candidates(self, sketch: Hashes) -> list[int]:
        """Documents that have half of the hashes of a sketch, those with most first.

        Hashes of boilerplate, which stand in ``CANDIDATES`` documents or more, tell nothing, and
        count only where a sketch has no others.
        """
        places = np.searchsorted(self._hashes, sketch)
        telling = places[self._count[places] < CANDIDATES]
        places = telling if len(telling) else places
        found: Counter[int] = Counter()
        for entry in self._newest[places].tolist():
            while entry >= 0:
                found[self._document[entry]] += 1
                entry = self._before[entry]
        return [document for document, hits in found.most_common() if 2 * hits >= len(places)]
