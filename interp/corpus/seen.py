"""The text that a trained coder or simulator has seen: by content, under whatever name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from interp.corpus.copies import SKETCH, Identity

DIGITS = 16
"""Of a hash in a sketch."""


class SeenText(BaseModel):
    """The identities of the documents that something was trained on."""

    hashes: list[str]
    sketches: list[str]
    """See :class:`interp.corpus.copies.Identity`."""

    @classmethod
    def of(cls, identities: Iterable[Identity]) -> "SeenText":
        """The record of documents, in an order that is theirs alone."""
        each = sorted(set(identities))
        return cls(hashes=[one.hash for one in each], sketches=[one.sketch for one in each])

    @classmethod
    def joined(cls, records: Iterable["SeenText"]) -> "SeenText":
        """The record of all documents of some records."""
        return cls.of(
            Identity(*one)
            for record in records
            for one in zip(record.hashes, record.sketches, strict=True)
        )

    def among(self, documents: Mapping[str, Identity]) -> list[str]:
        """Names of the documents that were seen, or nearly, in order.

        A document that shares half of a sketch was seen. Of texts that share four fifths of their
        shingles, this finds 99 in 100. An excerpt of a much longer text is not found.
        """
        exact = set(self.hashes)
        sketches = [set(_parts(sketch)) for sketch in self.sketches]
        having: dict[str, list[int]] = defaultdict(list)
        for number, parts in enumerate(sketches):
            for part in parts:
                having[part].append(number)
        found = []
        for name, (hashed, sketch) in documents.items():
            own = set(_parts(sketch))
            hits = Counter(number for part in own for number in having.get(part, ()))
            if hashed in exact or any(_alike(own, sketches[number]) for number in hits):
                found.append(name)
        return sorted(found)


def _parts(sketch: str) -> list[str]:
    return [sketch[start : start + DIGITS] for start in range(0, len(sketch), DIGITS)]


def _alike(one: set[str], other: set[str]) -> bool:
    """True if both have half of their common sketch."""
    common = sorted(one | other)[:SKETCH]
    return 2 * len(one & other & set(common)) >= len(common)
