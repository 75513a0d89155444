"""Gemma Scope 2: encode and decode by the formula of its release, and broken checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, draw, gemma_scope_2, gives, vectors

SITES = (
    "model.layers.9.pre_feedforward_layernorm.output",
    "model.layers.9.post_feedforward_layernorm.output",
)


@pytest.mark.parametrize("affine", [True, False])
def test_it_reads_what_was_written(tmp_path: Path, affine: bool) -> None:
    folder = gemma_scope_2(tmp_path / "layer_9_width_16_l0_small", affine=affine)
    facts = find(folder).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("transcoder", D, D, LATENTS)
    assert (facts.reads, facts.writes) == SITES
    assert (facts.skip, facts.model, facts.active) == (affine, "google/gemma-3-270m", 20)

    weights = load_file(folder / "params.safetensors")
    x = vectors()
    pre = x @ weights["w_enc"] + weights["b_enc"]
    activations = torch.relu(pre) * (pre > weights["threshold"])
    output = activations @ weights["w_dec"] + weights["b_dec"]
    if affine:
        output = output + x @ weights["affine_skip_connection"]
    gives(folder, activations, output)


def test_an_sae_reads_where_it_writes(tmp_path: Path) -> None:
    folder = gemma_scope_2(tmp_path, affine=False)
    site = "model.layers.9.output"
    (folder / "config.json").write_text(
        json.dumps({"hf_hook_point_in": site, "hf_hook_point_out": site})
    )
    assert find(folder).check().kind == "sae"


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors["threshold"]


def _transposed(tensors: dict[str, Tensor]) -> None:
    tensors["w_dec"] = tensors["w_dec"].mT.contiguous()


def _of_integers(tensors: dict[str, Tensor]) -> None:
    tensors["b_enc"] = tensors["b_enc"].int()


def _of_many_layers(tensors: dict[str, Tensor]) -> None:
    tensors["w_dec"] = draw(LATENTS, 3, D)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without, "threshold is missing"),
        (_transposed, r"w_dec is 6 × 16, not 16 × 6 \(it is transposed\)"),
        (_of_integers, "b_enc is of type I32"),
        (_of_many_layers, "cross-layer transcoder: it writes 3 layers"),
    ],
)
def test_a_broken_one_is_refused(tmp_path: Path, damage: object, says: str) -> None:
    path = gemma_scope_2(tmp_path) / "params.safetensors"
    tensors = load_file(path)
    damage(tensors)  # type: ignore[operator]
    save_file(tensors, path)
    with pytest.raises(InputError, match=says):
        load_coder(tmp_path, device=CPU)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = gemma_scope_2(tmp_path) / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or cut short"):
        load_coder(tmp_path, device=CPU)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no file .*config\.json"):
        load_coder(tmp_path, device=CPU)


def test_a_cross_layer_transcoder_is_named_so(tmp_path: Path) -> None:
    gemma_scope_2(tmp_path)
    path = tmp_path / "params.safetensors"
    tensors = load_file(path)
    _of_many_layers(tensors)
    path.unlink()
    for layer in range(2):
        save_file(tensors, tmp_path / f"params_layer_{layer}.safetensors")
    with pytest.raises(InputError, match="cross-layer transcoder"):
        load_coder(tmp_path, device=CPU)
