"""The models that this process has loaded, kept from one job to the next."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.coders.load import find_checkpoint, load_coder
from interp.coders.protocol import Coder
from interp.coders.readings import every_reading
from interp.coders.thresholds import with_threshold
from interp.corpus import tokenizer as tokenizers
from interp.corpus.activations import ActivationStore
from interp.errors import InputError
from interp.llm.llm import LLM
from interp.llm.load import load_llm
from interp.llm.registry import BACK_ENDS, servers
from interp.llm.servers import check_named
from interp.model.subject import Subject, default_device, load_causal_lm, torch_dtype
from interp.simulate import protocol as simulators
from interp.simulate.registry import SIMULATORS, prompted, trained
from interp.sources.checkpoint import Facts
from interp.vocabulary import ContextSet, Dtype
from models import Simulator, Study
from models.folders import check_coder, check_model, check_path
from models.settings import get_settings
from workers.named import may_load, may_read

KEPT_MODELS = 2
"""A subject model and a simulator's. A study that uses one model for both needs one."""


def _model(
    name: str, revision: str | None = None, dtype: Dtype = Dtype.FLOAT32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model by the name that people give it."""
    settings = get_settings()
    return _kept(settings.model_source(name), revision, dtype, settings.device_map)


def _loaded(
    source: str, revision: str | None, dtype: Dtype, device_map: str | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model, tokenizer = load_causal_lm(
        source,
        revision=revision,
        dtype=torch_dtype(dtype),
        device=default_device(),
        device_map=device_map,
    )
    model.requires_grad_(False)
    return model, tokenizer


_kept = lru_cache(maxsize=KEPT_MODELS)(_loaded)


@lru_cache(maxsize=KEPT_MODELS)
def _coder(source: str, hookpoint: str, reading: str) -> Coder:
    coder = load_coder(source, hookpoint, device=default_device())
    return every_reading(coder, reading)[reading]


def subject_of(study: Study) -> Subject:
    """The study's subject model.

    Raises:
        InputError: It may not be loaded or is not there, or its tokenizer is another one than when
            the study was collected.
    """
    may_load(check_model, study.model)
    model, tokenizer = _model(study.model, study.model_revision, Dtype(study.dtype))
    if study.coder_info.get("tokenizer") not in (None, tokenizers.fingerprint(tokenizer)):
        raise InputError(
            f"The tokenizer of {study.model} is not the one that this study was collected with: "
            "its vocabulary, merges or special tokens have changed, so the study's tokens would "
            "stand for other text. Put the old tokenizer back, or make a new study."
        )
    resumable = study.coder_info.get("resumes", True)
    return Subject(model, tokenizer, study.model, study.hookpoint, study.reads, resumable)


def corpus_of(study: Study) -> str:
    """The study's corpus, which may be loaded."""
    may_read(study.corpus)
    return study.corpus


def coder_of(study: Study) -> Coder:
    """The study's sparse coder, with the threshold that was estimated when it was collected."""
    may_load(check_coder, study.coder)
    coder = _coder(study.coder, study.hookpoint, study.reading)
    threshold = study.coder_info.get("threshold")
    return coder if threshold is None else with_threshold(coder, threshold)


def facts_of(study: Study) -> Facts:
    """What the files of the study's coder say."""
    may_load(check_coder, study.coder)
    return find_checkpoint(study.coder, study.hookpoint).check()


@lru_cache(maxsize=KEPT_MODELS)
def _llm(back_end: str, model: str, base_url: str | None) -> LLM:
    source = model if back_end in servers() else get_settings().model_source(model)
    # It may be the subject, which is loaded.
    return load_llm(back_end, source, base_url=base_url, causal_lm=_model)


def llm_of(options: dict[str, Any], model: str) -> LLM:
    """A language model by its back end, as simulators and explain jobs name it.

    Raises:
        InputError: Its server or its folder is none that the operator named.
    """
    settings = get_settings()
    if settings.accounts and (address := options.get("base_url")):
        check_named(address, settings.servers)
    back_end = options.get("backend", BACK_ENDS.default)
    if back_end not in servers():
        may_load(check_model, model)
    return _llm(back_end, model, options.get("base_url"))


def simulator_of(simulator: Simulator, study: Study) -> simulators.Simulator:
    """The simulator that a row of the table stands for, for the latents of a study.

    Raises:
        InputError: Its model or files are not there, or a trained one's are not those recorded.
    """
    options = simulator.options
    if simulator.method in trained():
        may_load(check_model, simulator.model)
        may_load(check_path, options["folder"])
        where = simulator.model, options["folder"], study.coder_info["sha256"]
        return _trained(simulator.method, *where)
    SIMULATORS.named(simulator.method)  # or an error that names those there are
    return prompted()[simulator.method].load(llm_of(options, simulator.model), options)


@lru_cache(maxsize=KEPT_MODELS)
def _trained(method: str, model: str, folder: str, coder: str) -> simulators.Simulator:
    # Not kept besides: the simulator may keep a smaller copy. It takes its parts from one device.
    base = _loaded(get_settings().model_source(model), None, Dtype.FLOAT32, None)
    return trained()[method].load(*base, Path(folder), coder)


def real_activations(
    study: Study, latent: int, context_set: ContextSet, contexts: int
) -> Float[np.ndarray, "context seq"]:
    """A latent's real activations on the first contexts of a set.

    Raises:
        StoreError: The study's activations on the set are missing or damaged.
    """
    (active,) = store_of(study, context_set).read(range(latent, latent + 1))
    return active.dense(list(range(contexts)), study.context_length)


def store_of(study: Study, context_set: ContextSet) -> ActivationStore:
    """The store of the study's activations on one set of contexts."""
    folder = get_settings().activations(study.id, str(context_set))
    return ActivationStore(folder, **study.collected(str(context_set)))
