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

D_IN, D_OUT, LATENTS = 6, 5, 16
SITES = {
    "hf_hook_point_in": "model.layers.9.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.9.post_feedforward_layernorm.output",
}
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def checkpoint(folder: Path, *, affine: bool = True) -> Path:
    """A transcoder in the layout of the release."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "w_enc": draw(D_IN, LATENTS),
        "w_dec": draw(LATENTS, D_OUT),
        "b_enc": draw(LATENTS, seed=1),
        "b_dec": draw(D_OUT),
        "threshold": draw(LATENTS, seed=2).abs(),
    }
    if affine:
        tensors["affine_skip_connection"] = draw(D_IN, D_OUT, seed=3)
    save_file(tensors, folder / "params.safetensors")
    config = SITES | {"model_name": "google/gemma-3-270m", "architecture": "jump_relu", "l0": 20}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("affine", [True, False])
def test_it_reads_what_was_written(tmp_path: Path, affine: bool) -> None:
    folder = checkpoint(tmp_path / "layer_9_width_16_l0_small", affine=affine)
    facts = find(folder).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("transcoder", 6, 5, 16)
    assert (facts.reads, facts.writes) == (*SITES.values(),)
    assert (facts.skip, facts.model, facts.active) == (affine, "google/gemma-3-270m", 20)

    weights = load_file(folder / "params.safetensors")
    x = draw(40, D_IN, seed=4)
    pre = x @ weights["w_enc"] + weights["b_enc"]
    activations = torch.relu(pre) * (pre > weights["threshold"])
    output = activations @ weights["w_dec"] + weights["b_dec"]
    if affine:
        output = output + x @ weights["affine_skip_connection"]

    coder = load_coder(folder, device=CPU)
    latents = coder.encode(x)
    torch.testing.assert_close(latents.dense(LATENTS), activations, rtol=0, atol=1e-5)
    torch.testing.assert_close(coder.decode(latents, x), output, rtol=0, atol=1e-5)
    assert 1 < latents.indices.shape[1] < LATENTS


def test_an_sae_reads_where_it_writes(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, affine=False)
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
    tensors["w_dec"] = draw(LATENTS, 3, D_OUT)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without, "threshold is missing"),
        (_transposed, r"w_dec is 5 × 16, not 16 × 5 \(it is transposed\)"),
        (_of_integers, "b_enc is of type I32"),
        (_of_many_layers, "cross-layer transcoder: it writes 3 layers"),
    ],
)
def test_a_broken_one_is_refused(tmp_path: Path, damage: object, says: str) -> None:
    path = checkpoint(tmp_path) / "params.safetensors"
    tensors = load_file(path)
    damage(tensors)  # type: ignore[operator]
    save_file(tensors, path)
    with pytest.raises(InputError, match=says):
        load_coder(tmp_path, device=CPU)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path) / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or cut short"):
        load_coder(tmp_path, device=CPU)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no file .*config\.json"):
        load_coder(tmp_path, device=CPU)
