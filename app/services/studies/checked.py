"""Checks of a new study's model, coder, hookpoint, corpus and lengths, without loading them."""

from collections.abc import Callable
from typing import TypeVar

from app.services.errors import FieldErrors
from app.services.studies.schemas import StudyCreate
from interp.coders.source import check_coder
from interp.errors import InputError
from interp.sources.corpora import check_corpus, located_corpus
from interp.sources.models import check_hookpoint, check_length, check_model
from interp.sources.paths import located
from models.settings import get_settings

Found = TypeVar("Found")


def checked(data: StudyCreate) -> StudyCreate:
    """The same study with its paths made absolute, if it can work.

    Names on a hub are taken as they are: a request asks no other server. Its job does.

    Raises:
        FieldErrors: Its model, coder, hookpoint, corpus or lengths cannot work.
    """
    errors: dict[str, str] = {}

    def tried(field: str, look: Callable[[], Found]) -> Found | None:
        try:
            return look()
        except InputError as error:
            errors[field] = str(error)
            return None

    model = tried("model", lambda: check_model(get_settings().model_source(data.model)))
    tried("hookpoint", lambda: check_hookpoint(data.hookpoint, model))
    if "hookpoint" not in errors:
        tried("coder", lambda: check_coder(data.coder, data.hookpoint, model))
    tried("corpus", lambda: check_corpus(data.corpus))
    tried("context_length", lambda: check_length(data.context_length, model))
    if errors:
        raise FieldErrors(errors)
    paths = {
        "model": located(data.model),
        "coder": located(data.coder),
        "corpus": located_corpus(data.corpus),
    }
    return data.model_copy(update=paths)
