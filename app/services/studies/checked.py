"""Checks of a model, coder, hookpoint, corpus and lengths, without loading them."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from app.services.errors import FieldErrors
from app.services.studies.schemas import Sources
from interp.coders.source import check_coder, check_reading, check_reads
from interp.errors import InputError
from interp.sources.corpora import check_corpus, located_corpus
from interp.sources.models import check_length, check_model, check_site
from interp.sources.paths import located
from models.settings import get_settings

Found = TypeVar("Found")
Named = TypeVar("Named", bound=Sources)


def checked(data: Named) -> Named:
    """The same with its paths made absolute, if it can work.

    Names on a hub are taken as they are: a request asks no other server. The worker does.

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

    source = get_settings().model_source(data.model)
    model = tried("model", lambda: check_model(source, data.model_revision))
    for field, site in (("hookpoint", data.hookpoint), ("reads", data.reads)):
        if site:
            tried(field, partial(check_site, site, model))
    facts = None
    if "hookpoint" not in errors:
        facts = tried("coder", lambda: check_coder(data.coder, data.hookpoint, model))
    if facts is not None and not data.hookpoint and not facts.writes:
        errors["hookpoint"] = (
            "The files of the coder do not name the site that it writes. Name it, such as "
            "layers.10.mlp."
        )
    tried("reading", lambda: check_reading(data.reading, facts))
    if facts is not None and "reads" not in errors:
        sites = data.reads, data.hookpoint, data.reading
        tried("reads", partial(check_reads, *sites, facts, model))
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
