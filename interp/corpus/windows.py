"""Documents in tokens, and where windows can be cut out of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from interp.corpus.chat import encode_chat
from interp.corpus.documents import Document
from interp.corpus.text import encode_many
from interp.corpus.unused import Unused
from interp.errors import ItemError

AT_ONCE = 500_000
"""Characters of text that are tokenized together: tokens in lists take much memory."""


class Encoded(NamedTuple):
    """A document in tokens. Arrays, because lists would take ten times as much memory."""

    ids: NDArray[np.uint32]
    own: NDArray[np.bool_]
    """False for the tokens that a chat template has written."""


def encoded(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerBase,
    bos: list[int],
    unused: Unused,
) -> Iterator[Encoded]:
    """Documents in tokens, in their order; none for a chat that cannot be written.

    Args:
        bos: What their contexts begin with. A template's own one is left out.
        unused: Counts the chats that cannot be written.

    Raises:
        InputError: One is a chat, and the tokenizer has no chat template.
    """
    for some in _groups(documents):
        plain = iter(encode_many(tokenizer, [one.text for one in some if not one.chat]))
        for document in some:
            if document.chat:
                yield _encoded_chat(document, tokenizer, bos, unused)
            else:
                ids = np.array(next(plain), np.uint32)
                yield Encoded(ids, np.ones(len(ids), bool))


def _groups(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Runs of documents that are tokenized together."""
    some: list[Document] = []
    size = 0
    for document in documents:
        some.append(document)
        size += len(document.text)
        if size >= AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _encoded_chat(
    document: Document, tokenizer: PreTrainedTokenizerBase, bos: list[int], unused: Unused
) -> Encoded:
    try:
        written = encode_chat(tokenizer, document.chat)
    except ItemError as error:
        unused.add(str(error), document.name)
        return Encoded(np.empty(0, np.uint32), np.empty(0, bool))
    first = int(bool(bos) and written.ids[:1] == bos)
    return Encoded(np.array(written.ids[first:], np.uint32), np.array(written.own[first:], bool))


def starts_of(document: Encoded, size: int, template_before: int | None) -> list[int]:
    """Where windows start that do not overlap in what is analysed.

    Args:
        size: Tokens in a window.
        template_before: A template's tokens stand only before this token of a window. None lets
            them stand anywhere.
    """
    if template_before is None:
        return list(range(0, len(document.ids) - size + 1, size))
    analysed = size - template_before
    edges = np.flatnonzero(np.diff(document.own, prepend=False, append=False))
    return [
        place - template_before
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        for place in range(max(begin, template_before), end - analysed + 1, analysed)
    ]
