"""What of a corpus cannot be used: counted by reason, so that it is not lost in silence."""

MOST = 20
"""Reasons that are told apart: a chat template may give another one for each chat."""


class Unused:
    """Counts rows and files that are left out."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        """By reason: how many, and where the first one is."""

    def add(self, reason: str, where: str) -> None:
        """Count one more."""
        if reason not in self.found and len(self.found) >= MOST:
            reason = "other reasons"
        count, first = self.found.get(reason, (0, where))
        self.found[reason] = count + 1, first

    def __str__(self) -> str:
        """Such as ``3 × null (the first: a.jsonl, line 7)``, the most frequent reason first."""
        most_first = sorted(self.found.items(), key=lambda item: (-item[1][0], item[0]))
        return "; ".join(
            f"{count:,} × {reason} (the first: {first})" for reason, (count, first) in most_first
        )
