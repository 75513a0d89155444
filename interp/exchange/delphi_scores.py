"""Delphi's own scores of an explanation.

They were measured by Delphi, on Delphi's texts. So they are kept beside the explanation, and are
never scores of a study.
"""

import math
from collections.abc import Callable
from typing import Any

from interp.exchange.origin import Refused
from interp.exchange.reading import Folder

LARGEST = 32 * 2**20
"""Bytes of a file of scores, at most."""
MALFORMED = "It does not hold what Delphi writes."


def scores_of(folder: Folder, name: str) -> dict[str, dict[str, Any]]:
    """The scores of an explanation by name: ``value``, or ``why`` there is none.

    Args:
        name: Of the latent in file names, such as ``layers.5.mlp_latent12``.
    """
    found = {}
    for scorer, (kind, read) in SCORERS.items():
        path = folder.path / "scores" / scorer / f"{name.replace('/', '--')}.txt"
        items = folder.read_json(path, LARGEST)
        if items is not None:
            found[kind] = {"why": items.why} if isinstance(items, Refused) else _score(items, read)
    return found


def _score(items: Any, read: Callable[[list[Any]], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read(items)
    except (TypeError, KeyError, ValueError, AttributeError):
        return {"why": MALFORMED}


def _balanced_accuracy(items: list[Any]) -> dict[str, Any]:
    """The mean of the shares of active and of silent examples that were answered right."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for item in items:
        active, said = item["activating"], item["prediction"]
        if not isinstance(active, bool) or not isinstance(said, bool | None):
            raise ValueError
        if said is not None:
            right[active].append(said == active)
    counts = {"n": len(right[True]) + len(right[False])}
    counts["unanswered"] = len(items) - counts["n"]
    if not right[True] or not right[False]:
        return counts | {"why": "Active or silent examples have no answer."}
    return counts | {"value": sum(sum(part) / len(part) for part in right.values()) / 2}


def _correlation(items: list[Any]) -> dict[str, Any]:
    """The correlation over all sequences, active and silent: that of the distance 0."""
    overall = [item for item in items if item["distance"] == 0]
    if not overall:
        return {"why": "It has no correlation over all sequences."}
    value = float(overall[0]["ev_correlation_score"])
    sequences = {"n": len(overall[0]["scored_sequence_simulations"])}
    if not math.isfinite(value):
        return sequences | {"why": "It is not defined."}
    return sequences | {"value": value}


SCORERS: dict[str, tuple[str, Callable[[list[Any]], dict[str, Any]]]] = {
    "detection": ("detection", _balanced_accuracy),
    "fuzz": ("fuzzing", _balanced_accuracy),
    "simulation": ("simulation", _correlation),
}
"""By the names of Delphi's folders: our names, and how a file is read."""
