"""The difference between two explanations, word by word."""

import re
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal, NamedTuple

WORD = re.compile(r"\w+\s*|[^\w\s]\s*")


class Change(NamedTuple):
    """A run of words that were kept, put in or taken out."""

    kind: Literal["kept", "added", "removed"]
    text: str


@lru_cache(maxsize=4096)
def word_diff(old: str, new: str) -> tuple[Change, ...]:
    """The words to remove from one explanation and to add to get the other.

    But for white space, the kept and the added runs together are the new explanation, and the kept
    and the removed ones the old one.
    """
    before, after = WORD.findall(old), WORD.findall(new)
    # In a text of over 200 words difflib does not look for those that make up over 1% of it:
    # else one word many times would take it seconds.
    matcher = SequenceMatcher(None, [w.strip() for w in before], [w.strip() for w in after])
    changes: list[Change] = []
    for what, start, stop, new_start, new_stop in matcher.get_opcodes():
        if what == "equal":
            kept = "".join(after[new_start:new_stop])
            # What was taken out behind it is shown as a word of its own.
            spaced = before[stop - 1][-1].isspace() and not kept[-1].isspace()
            changes.append(Change("kept", f"{kept} " if spaced else kept))
            continue
        if start < stop:
            changes.append(Change("removed", "".join(before[start:stop])))
        if new_start < new_stop:
            changes.append(Change("added", "".join(after[new_start:new_stop])))
    return tuple(changes)
