"""The text that a coder's fit is judged on: the same for an inspection and for a study."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interp.corpus.contexts import make_contexts
from interp.corpus.documents import Document, read_documents
from interp.corpus.source import source_of
from interp.errors import InputError
from interp.vocabulary import ContextSet

TOKENS = 2048
"""Tokens that a fit is judged on, or one context if that has more."""
CHARACTERS = 400_000
"""Text that is read at first: a corpus may take hours to read whole."""


def sample(
    corpus: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    length: int,
    prepend_bos: bool,
    first_position: int,
) -> Int[Tensor, "context seq"]:
    """Contexts of a corpus's first documents. Equal arguments give equal contexts, whatever study
    they are for.

    Args:
        length: Tokens in a context.
        first_position: The first position that is measured.

    Raises:
        InputError: The corpus cannot be read, or has no context of this length.
    """

    def of(documents: list[Document]) -> Int[Tensor, "context seq"]:
        contexts = make_contexts(
            documents,
            tokenizer,
            ContextSet.CALIBRATE,
            length=length,
            limit=None,
            prepend_bos=prepend_bos,
            seed=0,
            template_before=None if source_of(corpus).template else first_position,
        )
        some = contexts[: max(1, TOKENS // length)]
        return torch.tensor([context.tokens for context in some])

    first = list(_first(corpus))
    try:
        return of(first)
    except InputError:
        every = list(read_documents(corpus))
        if len(every) == len(first):
            raise
        return of(every)  # only later documents are as long as a context


def _first(corpus: str) -> Iterator[Document]:
    left = CHARACTERS
    for document in read_documents(corpus):
        yield document
        left -= len(document.text)
        if left <= 0:
            return
