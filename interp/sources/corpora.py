"""Check a corpus by its first documents."""

from itertools import islice

from interp.corpus.documents import read_documents
from interp.errors import InputError
from interp.sources.paths import SEEN, exists, full

LEAST_DOCUMENTS = 3
"""One for each of the sets explain, calibrate and evaluate."""


def check_corpus(source: str) -> None:
    """Refuse a corpus that cannot be read, or has too few documents.

    Only as much is read as it takes to see three documents with text.

    Args:
        source: As for :func:`interp.corpus.documents.read_documents`.

    Raises:
        InputError: It is no corpus, or has too little text.
    """
    if source == "sotu":
        return
    path = full(source)
    if not exists(path):
        raise InputError(
            f"There is no corpus at {path}. Give a folder of .txt files, a .jsonl or .parquet "
            f"file with a 'text' field, or 'sotu'. {SEEN}"
        )
    found = len(list(islice(read_documents(str(path)), LEAST_DOCUMENTS)))
    if found < LEAST_DOCUMENTS:
        what = ".txt files with text" if path.is_dir() else "documents with text"
        raise InputError(
            f"The corpus {path} has {found} {what}; at least {LEAST_DOCUMENTS} are needed, one for "
            "each of the sets explain, calibrate and evaluate."
        )
