"""The interface of a language model that explains, simulates or scores."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Completion(NamedTuple):
    """A model's answer to a chat."""

    text: str | None
    """The answer without the model's reasoning; None if there is no answer."""
    failure: str
    """Why there is no answer; empty if there is one."""
    tokens_read: int
    tokens_written: int
    """Reasoning is counted too."""
    cut: bool = False
    """Whether the reply ended because it had as many tokens as it may have."""


class Query(NamedTuple):
    """Text that follows a prefix, and the places where an answer is read."""

    pieces: list[str]
    """An answer is read after each piece: before the next one begins. Each piece is tokenized as
    text that follows other text, but no token spans a place."""


class Answers(NamedTuple):
    """The distributions over the answers at each place of one query."""

    probabilities: NDArray[np.float32]
    """Shape (place, answer); each row sums to 1, over exactly the given answers. NaN where the
    distribution is missing."""
    failures: list[str]
    """Why it is missing, one a place; empty where it is not."""
    tokens_read: int
    """Not counting a prefix whose keys and values were kept."""


class LLM(Protocol):
    """A language model behind one of the back ends: Transformers, vLLM, an OpenAI-compatible
    server."""

    @property
    def name(self) -> str:
        """The model, as it is stored with what it made."""

    @property
    def reads(self) -> Literal["anywhere", "end", "nothing"]:
        """The places where distributions can be read: at any place of a text, only after its last
        token, or nowhere, as with servers that give no log-probabilities."""

    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        """Answer chats. A failure is reported in its place and stops none of the others.

        Args:
            max_tokens: Of an answer. A model that reasons may write
                :data:`interp.llm.replies.REASONING_TOKENS` more.
        """

    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        """Read the distribution over single-token answers at the places of each query.

        All of this is text: what looks like a control token of the model is none.

        Args:
            prefix: Text before all queries, in parts. A back end that keeps what it has read
                keeps it after every part, so the part that changes least comes first.

        Raises:
            InputError: An answer is more than one token, or the back end cannot read there.
        """
