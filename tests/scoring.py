"""Cases for the scorers, and what answers them."""

from collections.abc import Sequence
from typing import Literal

from interp.llm.llm import Answers, Completion, Message, Query
from interp.llm.transformers import TransformersLLM
from interp.scoring.scorer import Case

CASES = [
    Case(" the dog and the horse slept in the barn", True, "a"),
    Case(" a tax on land, to be paid in March", False, "a"),
    Case(" two cats, a cow and a sheep", True, "b"),
    Case(" the treaty was signed in Paris", False, "b"),
    Case(" birds sang in the garden", True, "c"),
    Case(" we borrowed the money from the bank", False, "c"),
]


class Writer:
    """The real model behind a server that gives no log-probabilities."""

    reads: Literal["nothing"] = "nothing"

    def __init__(self, llm: TransformersLLM) -> None:
        self.llm, self.name = llm, llm.name
        self.answered: list[Completion] = []

    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        self.answered = self.llm.complete(chats, max_tokens=max_tokens, temperature=temperature)
        return self.answered

    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        raise AssertionError("this model's distributions cannot be read")
