"""Llama Scope: encode and decode by the formulas of its code, and what cannot be read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.coders.rules import BatchTopK, Threshold, TopK
from interp.errors import InputError
from tests.coder_files import (
    CPU,
    LATENTS,
    D,
    configure,
    gives,
    llama_scope,
    llama_scope_r1,
    top,
    turned,
    vectors,
    write,
)

SITE = "blocks.15.hook_resid_post"
TRANSCODER = {
    "hook_point_in": "blocks.15.ln2.hook_normalized",
    "hook_point_out": "blocks.15.hook_mlp_out",
    "dataset_average_activation_norm": {"in": 2.5, "out": 0.4},
}


def read(folder: Path) -> dict[str, Tensor]:
    first = folder / "checkpoints/final.safetensors"
    path = first if first.is_file() else folder / "sae_weights.safetensors"
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def in_training(weights: dict[str, Tensor], read_by: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations before any is selected, of vectors scaled as in training, and the lengths of the
    decoder's directions."""
    pre = x * read_by @ weights["encoder.weight"].mT + weights["encoder.bias"]
    return torch.relu(pre), weights["decoder.weight"].norm(dim=0)


def decoded(weights: dict[str, Tensor], activations: Tensor, written_by: float) -> Tensor:
    return (activations @ weights["decoder.weight"].mT + weights["decoder.bias"]) / written_by


@pytest.mark.parametrize("more", [{}, TRANSCODER])
@pytest.mark.parametrize("by_length", [True, False])
def test_one_threshold_is_in_units_of_the_model(
    tmp_path: Path, by_length: bool, more: dict[str, Any]
) -> None:
    folder = llama_scope(tmp_path, sparsity_include_decoder_norm=by_length, **more)
    weights = read(folder)
    norms = more.get("dataset_average_activation_norm", {"in": 2.5, "out": 2.5})
    read_by, written_by = D**0.5 / norms["in"], D**0.5 / norms["out"]
    # As the release's code does it: fold the scales, then compare activations with the threshold,
    # multiplied by the lengths of the folded decoder's directions.
    bias = weights["encoder.bias"] / read_by
    pre = vectors() @ weights["encoder.weight"].mT + bias
    lengths = (weights["decoder.weight"] * read_by / written_by).norm(dim=0)
    kept = (pre * lengths if by_length else pre) > 0.7
    activations = torch.relu(pre) * read_by * kept
    coder = gives(folder, activations, decoded(weights, activations, written_by))
    assert coder.kind == ("transcoder" if more else "sae")


@pytest.mark.parametrize("by_length", [True, False])
def test_top_k_may_rank_by_lengths(tmp_path: Path, by_length: bool) -> None:
    folder = llama_scope(tmp_path, act_fn="topk", sparsity_include_decoder_norm=by_length)
    assert find(folder).check().k == 3
    weights, factor = read(folder), D**0.5 / 2.5
    activations, lengths = in_training(weights, factor, vectors())
    activations = top(activations, 3, activations * lengths if by_length else None)
    gives(folder, activations, decoded(weights, activations, factor))


@pytest.mark.parametrize("by_length", [True, False])
def test_later_releases_have_a_threshold_for_each_latent(tmp_path: Path, by_length: bool) -> None:
    folder = llama_scope_r1(tmp_path, sparsity_include_decoder_norm=by_length)
    weights, factor = read(folder), D**0.5 / 2.5
    activations, lengths = in_training(weights, factor, vectors())
    ranks = activations * lengths if by_length else activations
    activations = activations * (ranks > weights["log_jumprelu_threshold"].exp())
    gives(folder, activations, decoded(weights, activations, factor))


def test_the_latest_releases_name_their_tensors_otherwise(tmp_path: Path) -> None:
    folder = llama_scope_r1(tmp_path)
    weights = read(folder)
    expected = load_coder(folder, device=CPU).encode(vectors()).dense(LATENTS)
    named = {
        "W_E": turned(weights["encoder.weight"]),
        "b_E": weights["encoder.bias"],
        "W_D": turned(weights["decoder.weight"]),
        "b_D": weights["decoder.bias"],
        "activation_function.log_jumprelu_threshold": weights["log_jumprelu_threshold"],
        f"dataset_average_activation_norm.{SITE}": torch.tensor(2.5),
    }
    save_file(named, folder / "sae_weights.safetensors")
    gives(folder, expected, decoded(weights, expected, D**0.5 / 2.5))


def test_each_vector_may_be_scaled(tmp_path: Path) -> None:
    folder = llama_scope(tmp_path, norm_activation="token-wise", act_fn="topk")
    weights, x = read(folder), vectors()
    factor = D**0.5 / x.norm(dim=1, keepdim=True)
    activations, lengths = in_training(weights, 1.0, x * factor)
    activations = top(activations, 3, activations * lengths)
    gives(folder, activations, decoded(weights, activations, 1.0) / factor)


def test_the_decoder_bias_may_be_subtracted(tmp_path: Path) -> None:
    folder = llama_scope(tmp_path, act_fn="relu", apply_decoder_bias_to_pre_encoder=True)
    weights, factor = read(folder), D**0.5 / 2.5
    shifted = vectors() - weights["decoder.bias"] / factor
    activations, _ = in_training(weights, factor, shifted)
    gives(folder, activations, decoded(weights, activations, factor))


def test_batch_top_k_without_a_threshold_is_said_so(tmp_path: Path) -> None:
    folder = llama_scope(tmp_path, act_fn="batchtopk")
    facts = find(folder).check()
    assert (facts.k, facts.active) == (None, 3)
    assert "holds no threshold: one is estimated" in facts.remark
    assert isinstance(load_coder(folder, device=CPU).rule, BatchTopK)


@pytest.mark.parametrize("layout", [llama_scope, llama_scope_r1])
def test_the_files_tell_the_facts(tmp_path: Path, layout: Any) -> None:
    facts = find(layout(tmp_path)).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("sae", D, D, LATENTS)
    assert (facts.reads, facts.writes, facts.k) == (SITE, SITE, None)
    # The threshold for all was set so that as many are active as in training.
    assert facts.active == (3 if layout is llama_scope else None)


def test_the_top_k_of_the_training_is_kept(tmp_path: Path) -> None:
    rule = load_coder(llama_scope(tmp_path), device=CPU).rule
    assert isinstance(rule, Threshold)
    assert isinstance(rule.trained, TopK)
    assert rule.trained.k == 3


def test_the_model_is_named_beside_it(tmp_path: Path) -> None:
    folder = llama_scope(tmp_path)
    assert find(folder).check().model == ""
    write(folder, "lm_config.json", {"model_name": "meta-llama/Llama-3.1-8B"})
    assert find(folder).check().model == "meta-llama/Llama-3.1-8B"


def test_the_file_may_be_named(tmp_path: Path) -> None:
    path = llama_scope(tmp_path) / "checkpoints/final.safetensors"
    assert find(path).weights == path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sae_type": "clt"}, "sae_type 'clt' is no coder of a single layer"),
        ({"use_glu_encoder": True}, "use_glu_encoder is true"),
        ({"act_fn": "gelu"}, "act_fn 'gelu' is not supported"),
        ({"act_fn": "topk", "top_k": 17}, "k is 17, but there are 16 latents"),
        ({"act_fn": "topk", "top_k": None}, "top_k is missing"),
        ({"jump_relu_threshold": "high"}, "jump_relu_threshold is 'high'; it must be a number"),
        ({"jump_relu_threshold": None}, "log_jumprelu_threshold is missing"),
        ({"norm_activation": "batch-wise"}, "norm_activation 'batch-wise' is not supported"),
        ({"dataset_average_activation_norm": None}, "the tensor dataset_average_activation_norm"),
        ({"dataset_average_activation_norm": {"in": 2}}, r"hyperparams\.json: out is missing"),
        ({"norm_activation": "token-wise"} | TRANSCODER, "'token-wise' is not supported for this"),
        ({"d_sae": 12}, r"encoder\.weight is 16 × 6, not 12 × 6"),
        ({"d_model": None}, "d_model is missing"),
        ({"d_sae": "many"}, "d_sae is 'many'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = llama_scope(tmp_path)
    configure(folder / "hyperparams.json", **changes)
    with pytest.raises(InputError, match=says):
        load_coder(folder, device=CPU)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    path = llama_scope(tmp_path) / "checkpoints/final.safetensors"
    weights = load_file(path)
    turned_one = weights["decoder.weight"].mT.contiguous()
    save_file(weights | {"decoder.weight": turned_one}, path)
    with pytest.raises(InputError, match=r"decoder\.weight is 16 × 6.*it is transposed"):
        load_coder(tmp_path, device=CPU)
    save_file({name: one for name, one in weights.items() if name != "decoder.bias"}, path)
    with pytest.raises(InputError, match=r"decoder\.bias is missing"):
        load_coder(tmp_path, device=CPU)
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*final\.safetensors"):
        load_coder(tmp_path, device=CPU)
