"""What of a corpus cannot be used: counted by reason, so that it is not lost in silence."""

from collections.abc import Mapping


class Unused:
    """Counts rows and files that are left out."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        """By reason: how many, and where the first one is."""

    def add(self, reason: str, where: str) -> None:
        count, first = self.found.get(reason, (0, where))
        self.found[reason] = count + 1, first

    def __str__(self) -> str:
        return in_words(self.found)


def in_words(found: Mapping[str, tuple[int, str]]) -> str:
    """What was left out, such as ``3 × null (the first: a.jsonl, line 7)``; empty if nothing."""
    most_first = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return "; ".join(
        f"{count:,} × {reason} (the first: {first})" for reason, (count, first) in most_first
    )
