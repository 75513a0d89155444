"""What people named, looked at again before it is loaded: links and settings may have changed."""

from collections.abc import Callable

from interp.coders.findings import Question
from interp.corpus.source import source_of
from interp.errors import InputError
from models.folders import check_coder, check_model, check_path


def may_load(check: Callable[[str], str], source: str) -> None:
    """Let through what people may name.

    Args:
        check: One of :mod:`models.folders`.

    Raises:
        InputError: Accounts are on, and it is not below a folder that the operator named.
    """
    try:
        check(source)
    except ValueError as error:
        raise InputError(str(error)) from None


def may_read(corpus: str) -> None:
    """The same of a corpus."""
    if (path := source_of(corpus).here) is not None:
        may_load(check_path, path)


def may_inspect(question: Question) -> None:
    """The same of all that an inspection reads."""
    may_load(check_model, question.model)
    may_load(check_coder, question.coder)
    may_read(question.corpus)
