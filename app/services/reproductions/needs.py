"""What a recipe needs on this machine, and what of it is missing."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from app.services.reproductions.recipes import Recipe
from app.services.simulators.schemas import LanguageModel
from interp.coders.source import check_coder
from interp.corpus.source import source_of
from interp.errors import InputError
from interp.hub import cached, cannot_fetch
from interp.llm.openai import OpenAILLM
from interp.llm.registry import BACK_ENDS
from interp.registry import listed
from interp.sources.corpora import check_corpus
from interp.sources.models import check_model
from interp.sources.paths import hub_place, is_path
from models.settings import get_settings

HERE, ON_HUB, ON_SERVER = "here", "on the hub", "served"


class Need(NamedTuple):
    """A model, a data set, or a part of the machine."""

    name: str
    use: str
    state: str
    """Where it is; empty if it is missing."""
    missing: str = ""
    """Why it cannot be had, and what to do."""


def needs(recipe: Recipe, has_gpu: Callable[[], bool]) -> list[Need]:
    """All that the jobs of a recipe load. Names that are not here are looked up on the hub.

    Args:
        has_gpu: Looks for a GPU. It is called where a back end is of use on one only.
    """
    found: dict[str, Need] = {}
    for study in recipe.studies:
        _add(found, _model(study.model, "subject model", study.model_revision))
        _add(found, _coder(study.coder, study.hookpoint, f"coder of {study.slug}"))
        _add(found, _corpus(study.corpus))
    llms: list[tuple[LanguageModel, str]] = [(recipe.simulator, "simulator")]
    if recipe.explainer.llm is not None:
        llms.append((recipe.explainer.llm, "explainer"))
    for llm, use in llms:
        _add(found, _language_model(llm, use))
    for name in dict.fromkeys(llm.backend for llm, _ in llms):
        module = BACK_ENDS[name].needs
        if module is None:
            continue
        there = find_spec(module) is not None
        _add(
            found, Need(module, "back end", HERE if there else "", "" if there else "not installed")
        )
        gpu = "" if has_gpu() else f"{BACK_ENDS[name].title} needs one"
        _add(found, Need("a GPU", "back end", "" if gpu else HERE, gpu))
    return list(found.values())


def in_words(missing: list[Need]) -> str:
    """What is missing, in a sentence: names with one reason together."""
    reasons: dict[str, list[str]] = {}
    for one in missing:
        reason = one.missing.rstrip(".")
        reasons.setdefault(reason[:1].lower() + reason[1:], []).append(one.name)
    return "; ".join(f"{listed(names, 'and')} ({reason})" for reason, names in reasons.items())


def _add(found: dict[str, Need], need: Need) -> None:
    """Add a need; one thing that serves two purposes is one need."""
    other = found.get(need.name)
    if other is not None and need.use not in other.use.split(", "):
        need = need._replace(use=f"{other.use}, {need.use}")
    found[need.name] = need


def _model(name: str, use: str, revision: str | None = None) -> Need:
    source = get_settings().model_source(name)
    try:
        check_model(source, revision)
    except InputError as error:
        return Need(name, use, "", str(error))
    return Need(name, use, HERE) if is_path(source) else _of_hub(name, name, use, revision)


def _coder(name: str, hookpoint: str, use: str) -> Need:
    try:
        if check_coder(name, hookpoint, None) is not None:
            return Need(name, use, HERE)
        repository, _ = hub_place(name, hookpoint)
    except InputError as error:
        return Need(name, use, "", str(error))
    return _of_hub(name, repository, use)


def _corpus(name: str) -> Need:
    try:
        source = source_of(name)
        check_corpus(name)
    except InputError as error:
        return Need(name, "text", "", str(error))
    if not source.on_hub:
        return Need(name, "text", HERE)
    why = cannot_fetch(source.place, data_set=True)
    return Need(name, "text", "" if why else ON_HUB, why)


def _language_model(llm: LanguageModel, use: str) -> Need:
    if not llm.on_server:
        return _model(llm.model, use)
    try:
        served = OpenAILLM(llm.model, llm.base_url).served()
    except InputError as error:
        return Need(llm.model, use, "", str(error))
    if llm.model in served:
        return Need(llm.model, use, ON_SERVER)
    return Need(llm.model, use, "", f"the server has {listed(served or ['no model'], 'and')}")


def _of_hub(name: str, repository: str, use: str, revision: str | None = None) -> Need:
    if cached(repository, revision) is not None:
        return Need(name, use, HERE)
    why = cannot_fetch(repository, revision)
    return Need(name, use, "" if why else ON_HUB, why)
