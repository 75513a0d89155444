"""Diffs, previews and worst places, worked by hand."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.explanations.diff import word_diff
from interp.explain.errors import Place, worst_places
from interp.simulate.prompted.all_at_once import VERSION, AllAtOnce
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS

# What changed


def test_a_diff_worked_by_hand() -> None:
    changes = [(c.kind, c.text) for c in word_diff("on the word state", "on the old word, mostly")]
    assert changes == [
        ("kept", "on the "),
        ("added", "old "),
        ("kept", "word "),
        ("removed", "state"),
        ("added", ", mostly"),
    ]
    assert [c.kind for c in word_diff("the same", "the same")] == ["kept"]
    assert [c.kind for c in word_diff("this", "that")] == ["removed", "added"]


@given(st.text("ab .,", max_size=30), st.text("ab .,", max_size=30))
def test_a_diff_says_both_explanations(old: str, new: str) -> None:
    changes = word_diff(old, new)

    def said(kind: str) -> str:
        return "".join("".join(c.text for c in changes if c.kind in ("kept", kind)).split())

    assert said("added") == "".join(new.split())
    assert said("removed") == "".join(old.split())


# What the simulator reads


def test_the_preview_is_what_the_model_is_given() -> None:
    """The parts together are the very text that the prompted simulator sends."""
    sent: list[str] = []

    class Noting:
        name, reads = "noting", "anywhere"

        def distributions(self, prefix: list[str], queries: list, answers: list[str]) -> Iterator:
            sent.append("".join(prefix) + "".join(queries[0].pieces))
            return iter(())

    tokens = ["One", "\n", " two"]
    ask = Ask("on  “two” ")
    with pytest.raises(ValueError):  # it has no answers
        next(iter(AllAtOnce(Noting()).simulate([ask], [tokens], first_position=0)))  # type: ignore[arg-type]
    shown = SIMULATORS["all_at_once"].reads(VERSION, ask, tokens)
    assert shown.text == sent[0]
    assert shown.explanation == "on “two”"
    for method, version in (("last_token", "last_token-1"), ("json_reply", "json_reply-1")):
        other = SIMULATORS[method].reads(version, Ask("a {curious} one"), tokens)
        assert other.text.count("a {curious} one") == 1
        assert other.before.rstrip().endswith(("Description:", "is"))
    assert SIMULATORS["inline"].reads("1", ask, tokens).text == "on “two”\nOne\n two"
    assert SIMULATORS["two_tower"].reads("1", ask, tokens).text == "on  “two” "


# Errors


def test_the_worst_places_worked_by_hand() -> None:
    real = np.array([[0, 0, 0], [0, 4, 1], [0, 0, 0], [0, 0, 2.0]])
    said = np.array([[0, 3, 1], [0, 1, np.nan], [np.nan, 0.5, 0], [0, 0, np.nan]])
    assert worst_places(said, real, count=5) == ([Place(0, 1), Place(2, 1)], [Place(1, 1)])
    assert worst_places(said, real, count=1) == ([Place(0, 1)], [Place(1, 1)])
