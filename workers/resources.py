"""The models that this process has loaded, kept from one job to the next."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.activations import ActivationStore
from interp.coders import Coder, load_coder
from interp.contexts import ContextSet
from interp.evaluate import Positions, context_losses
from interp.llm.transformers import TransformersLLM
from interp.simulate.all_at_once import AllAtOnce
from interp.splice import real_latents
from interp.subject import Subject, default_device, load_causal_lm
from models import Simulator, Study
from models.settings import get_settings
from workers.tasks.rows import first_position

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


def store_of(study: Study, context_set: ContextSet) -> ActivationStore:
    """Where the study's activations on one set of contexts are kept."""
    folder = get_settings().data / "studies" / str(study.id) / str(context_set)
    return ActivationStore(Path(folder), study.context_length)


_real_losses: dict[tuple[int, Positions], NDArray[np.float64]] = {}


def real_losses(
    study: Study,
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    positions: Positions,
) -> NDArray[np.float64]:
    """Loss of each evaluate-set context with all latents real: what every edit is compared with.

    It depends on nothing that an edit changes, so it is computed once a process.
    """
    key = (study.id, positions)
    if key not in _real_losses:
        _real_losses[key] = context_losses(
            subject,
            tokens,
            real_latents(coder),
            positions=positions,
            first_position=first_position(study),
        )
    return _real_losses[key]
