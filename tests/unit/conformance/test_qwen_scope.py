"""Qwen-Scope: encode and decode by its formula, facts from names, and broken checkpoints."""

from pathlib import Path

import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, gives, qwen_scope, save, top, vectors


def test_it_computes_what_the_release_defines(tmp_path: Path) -> None:
    folder = qwen_scope(tmp_path)
    weights = torch.load(folder / "layer1.sae.pt", weights_only=True)
    pre = vectors() @ weights["W_enc"].mT + weights["b_enc"]
    activations = top(torch.relu(pre), 3)
    output = activations @ weights["W_dec"].mT + weights["b_dec"]
    gives(folder, activations, output, "layers.1")
    gives(folder / "layer1.sae.pt", activations, output)


def test_the_names_tell_the_facts(tmp_path: Path) -> None:
    facts = find(qwen_scope(tmp_path), "layers.1").check()
    assert (facts.kind, facts.k, facts.model) == ("sae", 3, "Qwen/Qwen3-1.7B-Base")
    assert (facts.reads, facts.writes) == ("blocks.1.hook_resid_post",) * 2


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    folder = qwen_scope(tmp_path)
    path = folder / "layer0.sae.pt"
    weights = torch.load(path, weights_only=True)
    save(path, {name: tensor for name, tensor in weights.items() if name != "W_dec"})
    with pytest.raises(InputError, match="W_dec is missing"):
        load_coder(path, device=CPU)
    save(path, weights | {"W_enc": weights["W_enc"].mT.contiguous()})
    with pytest.raises(InputError, match=r"W_enc is 6 × 16, not 16 × 6 \(it is transposed\)"):
        load_coder(path, device=CPU)
    save(path, weights)
    with pytest.raises(InputError, match="k is 99, but there are 16 latents"):
        load_coder(folder.rename(tmp_path / "SAE-Res-Qwen3-L0_99") / path.name, device=CPU)


def test_without_its_name_nobody_knows_k(tmp_path: Path) -> None:
    folder = qwen_scope(tmp_path).rename(tmp_path / "coders")
    with pytest.raises(InputError, match="does not say how many latents are active on a token"):
        load_coder(folder, "layers.0", device=CPU)
