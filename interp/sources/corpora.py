"""Check a corpus by its first documents."""

from itertools import islice

from interp.corpus.documents import read_documents
from interp.corpus.source import GIVE, SOTU, relocated, source_of
from interp.corpus.unused import Unused
from interp.errors import InputError
from interp.sources.paths import SEEN, exists, full, located

LEAST_DOCUMENTS = 3
"""One for each of the sets explain, calibrate and evaluate."""


def check_corpus(name: str) -> None:
    """Refuse a corpus that cannot be read, or has too few documents.

    Only as much is read as it takes to see three documents with text. A data set of the hub is
    taken as it is: the job reads it.

    Args:
        name: As for :func:`interp.corpus.documents.read_documents`.

    Raises:
        InputError: It is no corpus, or has too little text.
    """
    source = source_of(name)
    if source.place == SOTU or source.on_hub:
        return
    path = full(source.place)
    if not exists(path):
        raise InputError(f"There is no corpus at {path}. {GIVE} {SEEN}")
    unused = Unused()
    read = read_documents(relocated(name, str(path)), unused)
    found = len(list(islice(read, LEAST_DOCUMENTS)))
    if found < LEAST_DOCUMENTS:
        documents = "document" if found == 1 else "documents"
        left_out = f" Left out: {unused}." if unused.found else ""
        raise InputError(
            f"The corpus {path} has {found} {documents} with text; at least {LEAST_DOCUMENTS} are "
            "needed, one for each of the sets explain, calibrate and evaluate. Each text file and "
            f"each row is one document.{left_out}"
        )


def located_corpus(name: str) -> str:
    """The same corpus with an absolute path, because a worker may run in another folder.

    Raises:
        InputError: What is behind its question mark is not understood.
    """
    place = source_of(name).place
    return name if place == SOTU else relocated(name, located(place))
