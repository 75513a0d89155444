"""What the tests ask of every back end that runs the same model, and what must come of it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from interp.errors import InputError
from interp.llm.llm import LLM, Message, Query
from interp.llm.load import self_test

DIGITS = [str(digit) for digit in range(10)]
PREFIX = [
    "Each line is a word, then how much it has to do with animals, from 0 to 9.\n\n"
    "dog\t9\n tax\t0\n horse\t9\n year\t0\n farm\t4\n of\t0\n",
    "Now the same for what is found in a kitchen.\n",
]
QUERIES = [
    Query([" pan\t", "\n dog\t", "\n spoon\t"]),
    Query([" écrit\t", "\n\\n\t"]),
    Query(["the\t"]),
]
TOLERANCE = 0.01
"""Of a probability; what was measured is under a thousandth."""
CHATS: list[list[Message]] = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "system", "content": "You are a poet."},
        {"role": "user", "content": "Name three colours."},
        {"role": "assistant", "content": "Red, green and blue."},
        {"role": "user", "content": "And three more."},
    ],
]
LONG = "horse " * 8200
"""The model reads at most 8,192 tokens."""


def refusal(llm: LLM) -> str:
    """What a back end says to answers that are more than one token."""
    try:
        llm.distributions(PREFIX, QUERIES, ["seventeen", "0"])
    except InputError as error:
        return str(error)
    return ""


def found_by(llm: LLM) -> dict[str, Any]:
    """All that is asked, in what JSON can hold."""
    long_chat: list[Message] = [{"role": "user", "content": LONG}]
    *chats, no_answer = llm.complete([*CHATS, long_chat], max_tokens=12)
    *answers, too_long = llm.distributions(PREFIX, [*QUERIES, Query([LONG])], DIGITS)
    return {
        "reads": llm.reads,
        "chats": [one._asdict() for one in chats],
        "long chat": no_answer._asdict(),
        "probabilities": [one.probabilities.tolist() for one in answers],
        "failures": [one.failures for one in answers],
        "long text": too_long.failures,
        "refusal": refusal(llm),
        "self-test": self_test(llm),
    }


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two back ends that run the same weights in float32 agree."""
    assert found["reads"] == expected["reads"] == "anywhere"
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)
    assert found["failures"] == expected["failures"] == [[""] * 3, [""] * 2, [""]]
    assert found["chats"] == expected["chats"]
    for one in (found, expected):
        assert one["long chat"]["text"] is None and one["long chat"]["failure"]
        assert all(one["long text"])
    assert "no single token for each of seventeen, 0" in found["refusal"]
    assert found["refusal"] == expected["refusal"]
    assert found["self-test"] == expected["self-test"]


def main() -> None:
    """In the environment that has vLLM: ask it, and write what came of it to a file."""
    from interp.llm.vllm import load_vllm

    model, file = sys.argv[1:]
    llm = load_vllm(model, dtype="float32", enforce_eager=True)
    Path(file).write_text(json.dumps(found_by(llm)), encoding="utf-8")


if __name__ == "__main__":
    main()
