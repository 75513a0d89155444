"""The models that this process has loaded, kept from one job to the next."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.activations import ActivationStore
from interp.coders import Coder, load_coder
from interp.contexts import ContextSet
from interp.llm.transformers import TransformersLLM
from interp.simulate.all_at_once import AllAtOnce
from interp.subject import Subject, default_device, load_causal_lm
from models import Simulator, Study
from models.settings import get_settings

KEPT_MODELS = 2
"""A subject model and a simulator's; they are one where a study uses the same for both."""


@lru_cache(maxsize=KEPT_MODELS)
def _model(source: str, revision: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model, tokenizer = load_causal_lm(
        source, revision=revision, dtype=torch.float32, device=default_device()
    )
    model.requires_grad_(False)
    return model, tokenizer


@lru_cache(maxsize=KEPT_MODELS)
def _coder(source: str, hookpoint: str) -> Coder:
    return load_coder(source, hookpoint, device=default_device())


def subject_of(study: Study) -> Subject:
    """The study's subject model, in float32: losses are compared to a thousandth of a nat."""
    return Subject(*_model(study.model, study.model_revision), study.model, study.hookpoint)


def coder_of(study: Study) -> Coder:
    """The study's sparse coder."""
    return _coder(study.coder, study.hookpoint)


@lru_cache(maxsize=KEPT_MODELS)
def _all_at_once(model: str) -> AllAtOnce:
    return AllAtOnce(TransformersLLM(*_model(model, None)))


def simulator_of(simulator: Simulator) -> AllAtOnce:
    """The simulator that a row of the table stands for."""
    return _all_at_once(simulator.model)


def real_activations(
    study: Study, latent: int, context_set: ContextSet, contexts: int
) -> Float[np.ndarray, "context seq"]:
    """A latent's real activations on the first contexts of a set."""
    (active,) = store_of(study, context_set).read(range(latent, latent + 1))
    return active.dense(list(range(contexts)), study.context_length)


def store_of(study: Study, context_set: ContextSet) -> ActivationStore:
    """Where the study's activations on one set of contexts are kept."""
    folder = get_settings().data / "studies" / str(study.id) / str(context_set)
    return ActivationStore(Path(folder), study.context_length)
