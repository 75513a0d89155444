"""Small sparse coders in the layouts of the field's releases, and what they must give."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.protocol import Coder
from tests.checkpoints import coder_folder

D, LATENTS, TOKENS = 6, 16, 40
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def vectors() -> Tensor:
    """Vectors for a coder to read."""
    return draw(TOKENS, D, seed=4)


def parts(*, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a coder, with a row of the encoder for each latent."""
    return {
        "encoder": draw(LATENTS, D, seed=seed),
        "encoder_bias": draw(LATENTS, seed=seed + 1),
        "decoder": draw(LATENTS, D, seed=seed + 2),
        "decoder_bias": draw(D, seed=seed + 3),
    }


def plain(*, seed: int = 0, capital: bool = True) -> dict[str, Tensor]:
    """Weights as most save them: a column of the encoder for each latent."""
    weights, w = parts(seed=seed), "W" if capital else "w"
    return {
        f"{w}_enc": turned(weights["encoder"]),
        f"{w}_dec": weights["decoder"],
        "b_enc": weights["encoder_bias"],
        "b_dec": weights["decoder_bias"],
    }


def linear(end: str = "") -> dict[str, Tensor]:
    """Weights of two linear layers: a row of the encoder and a column of the decoder for each."""
    weights = parts()
    return {
        f"encoder{end}.weight": weights["encoder"],
        f"encoder{end}.bias": weights["encoder_bias"],
        f"decoder{end}.weight": turned(weights["decoder"]),
        f"decoder{end}.bias": weights["decoder_bias"],
    }


def turned(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous()


def top(activations: Tensor, k: int, ranks: Tensor | None = None) -> Tensor:
    """Activations, with all but the k of the largest ranks zero."""
    ranks = activations if ranks is None else ranks
    kept = torch.zeros_like(activations).scatter(1, ranks.topk(k, dim=1).indices, 1.0)
    return activations * kept


def write(folder: Path, config: str, settings: Mapping[str, Any]) -> Path:
    """A config, in JSON or YAML, in a folder that need not be there yet."""
    path = folder / config
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) if path.suffix == ".json" else yaml.safe_dump(settings))
    return path


def configure(path: Path, **changes: Any) -> None:
    """Change a JSON config."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save(path: Path, tensors: Mapping[str, Any]) -> Path:
    """Weights, in the kind of file that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        torch.save(dict(tensors), path)
    return path


def gives(where: Path, activations: Tensor, output: Tensor, hookpoint: str = "") -> Coder:
    """Check that a loaded coder puts out these activations and vectors, to 1e-5."""
    coder, x = load_coder(where, hookpoint, device=CPU), vectors()
    latents = coder.encode(x)
    torch.testing.assert_close(latents.dense(coder.num_latents), activations, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.decode(latents, x), output, rtol=1e-5, atol=1e-5)
    assert 0 < float((activations != 0).float().mean()) < 1
    return coder


def saelens(folder: Path, architecture: str = "standard", **changes: Any) -> Path:
    """A checkpoint of SAELens 6."""
    tensors = plain()
    if "jumprelu" in architecture:
        tensors["threshold"] = draw(LATENTS, seed=5).abs()
    if "skip" in architecture:
        tensors["W_skip"] = draw(D, D, seed=6)
    if architecture == "gated":
        del tensors["b_enc"]
        tensors |= {name: draw(LATENTS, seed=at) for at, name in enumerate(GATED, 7)}
    save(folder / "sae_weights.safetensors", tensors)
    hooks = {"hook_name": "blocks.3.hook_resid_pre"}
    if transcoder := "transcoder" in architecture:
        hooks = {
            "hook_name": "blocks.3.ln2.hook_normalized",
            "hook_name_out": "blocks.3.hook_mlp_out",
        }
    config = {"architecture": architecture, "d_in": D, "d_sae": LATENTS, "dtype": "float32"}
    config |= {
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "model_name": "gpt2-small"} | hooks,
    }
    if transcoder:
        config["d_out"] = D
    if "topk" in architecture:
        config["k"] = 3
    write(folder, "cfg.json", config | changes)
    return folder


GATED = ("b_gate", "b_mag", "r_mag")


def gemma_scope(folder: Path, repository: str = "gemma-scope-2b-pt-res") -> Path:
    """A checkpoint of Gemma Scope 1."""
    inside = folder / repository / "layer_20/width_16k/average_l0_71"
    save(inside / "params.npz", plain() | {"threshold": draw(LATENTS, seed=5).abs()})
    return inside


def gemma_scope_2(folder: Path, *, affine: bool = True) -> Path:
    """A transcoder of Gemma Scope 2."""
    tensors = plain(capital=False) | {"threshold": draw(LATENTS, seed=5).abs()}
    if affine:
        tensors["affine_skip_connection"] = draw(D, D, seed=6)
    save(folder / "params.safetensors", tensors)
    norm = "model.layers.9.{}_feedforward_layernorm.output"
    sites = {"hf_hook_point_in": norm.format("pre"), "hf_hook_point_out": norm.format("post")}
    about = {"model_name": "google/gemma-3-270m", "architecture": "jump_relu", "l0": 20}
    write(folder, "config.json", sites | about)
    return folder


def circuit_tracer(folder: Path, *, threshold: bool = False, skip: bool = False) -> Path:
    """A set of transcoders of two layers."""
    for layer in (0, 1):
        tensors = plain(seed=layer * 10)
        tensors["W_enc"] = turned(tensors["W_enc"])
        if threshold:
            tensors["activation_function.threshold"] = draw(LATENTS, seed=5).abs()
        if skip:
            tensors["W_skip"] = draw(D, D, seed=6)
        save(folder / f"layer_{layer}.safetensors", tensors)
    config = {
        "model_name": "meta-llama/Llama-3.2-1B",
        "model_kind": "transcoder_set",
        "feature_input_hook": "hook_resid_mid",
        "feature_output_hook": "hook_mlp_out",
    }
    write(folder, "config.yaml", config)
    return folder


def llama_scope(folder: Path, **changes: Any) -> Path:
    """A checkpoint of the first releases of Llama Scope."""
    halves = {name: tensor.bfloat16() for name, tensor in linear().items()}
    save(folder / "checkpoints/final.safetensors", halves)
    config = {
        "hook_point_in": "blocks.15.hook_resid_post",
        "hook_point_out": "blocks.15.hook_resid_post",
        "expansion_factor": 8,
        "d_model": D,
        "d_sae": LATENTS,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.7,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 2.5, "out": 2.5},
        "sparsity_include_decoder_norm": True,
        "top_k": 3,
    }
    write(folder, "hyperparams.json", config | changes)
    return folder


def llama_scope_r1(folder: Path, **changes: Any) -> Path:
    """A checkpoint of the later releases of Llama Scope."""
    site = "blocks.15.hook_resid_post"
    tensors = linear() | {
        "log_jumprelu_threshold": draw(LATENTS, seed=5),
        f"dataset_average_activation_norm.{site}": torch.tensor(2.5),
    }
    save(folder / "sae_weights.safetensors", tensors)
    config = {
        "sae_type": "sae",
        "hook_point_in": site,
        "hook_point_out": site,
        "d_model": D,
        "expansion_factor": LATENTS / D,
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
    }
    write(folder, "config.json", config | changes)
    return folder


def dictionary_learning(folder: Path, kind: str = "BatchTopKSAE", **more: Any) -> Path:
    """A checkpoint of dictionary_learning.

    Args:
        more: Further tensors.
    """
    biased = linear()
    bias = biased.pop("decoder.bias")
    groups = {"group_sizes": torch.tensor([4, LATENTS - 4])}
    k = {"k": torch.tensor(3, dtype=torch.int)}
    tensors: dict[str, dict[str, Tensor]] = {
        "AutoEncoder": biased | {"bias": bias},
        "AutoEncoderNew": biased | {"decoder.bias": bias},
        "AutoEncoderTopK": biased | {"b_dec": bias, "threshold": torch.tensor(0.5)} | k,
        "BatchTopKSAE": biased | {"b_dec": bias, "threshold": torch.tensor(0.5)} | k,
        "MatryoshkaBatchTopKSAE": plain() | {"threshold": torch.tensor(0.5)} | k | groups,
        "JumpReluAutoEncoder": plain() | {"threshold": draw(LATENTS, seed=5).abs()},
        "GatedAutoEncoder": {name: biased[name] for name in ("encoder.weight", "decoder.weight")}
        | {"decoder_bias": bias}
        | {name: draw(LATENTS, seed=at) for at, name in enumerate(OWN_GATED, 7)},
    }
    save(folder / "ae.pt", tensors[kind] | more)
    trainer = {
        "dict_class": kind,
        "activation_dim": D,
        "dict_size": LATENTS,
        "layer": 8,
        "lm_name": "EleutherAI/pythia-70m-deduped",
        "submodule_name": "resid_post_layer_8",
    }
    if "TopK" in kind:
        trainer["k"] = 3
    write(folder, "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
    return folder


OWN_GATED = ("gate_bias", "mag_bias", "r_mag")


def qwen_scope(folder: Path) -> Path:
    """A checkpoint of Qwen-Scope, of two layers."""
    inside = folder / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3"
    for layer in (0, 1):
        tensors = plain(seed=layer * 10)
        tensors |= {name: turned(tensors[name]) for name in ("W_enc", "W_dec")}
        save(inside / f"layer{layer}.sae.pt", tensors)
    return inside


def openai(folder: Path, activation: str = "TopK", after: str = "ReLU") -> Path:
    """A checkpoint of OpenAI's."""
    weights = parts()
    inside = folder / "resid_delta_mlp_v5_32k" / "autoencoders"
    held: dict[str, Any] = {
        "pre_bias": weights["decoder_bias"],
        "latent_bias": weights["encoder_bias"],
        "stats_last_nonzero": torch.zeros(LATENTS, dtype=torch.long),
        "encoder.weight": weights["encoder"],
        "decoder.weight": turned(weights["decoder"]),
        "activation": activation,
    }
    if activation == "TopK":
        held["activation_state_dict"] = {"k": 3, "postact_fn": after}
    save(inside / "5.pt", held)
    return inside


def linear_layers(folder: Path, *, goodfire: bool = True) -> Path:
    """A checkpoint of Goodfire's, or the one for DeepSeek-R1."""
    goodfires, other = (
        "Llama-3.1-8B-Instruct-SAE-l19.pth",
        "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt",
    )
    save(folder / (goodfires if goodfire else other), linear("_linear" if goodfire else ""))
    return folder


def batch_top_k(folder: Path, kind: str = "batchtopk", **changes: Any) -> Path:
    """A checkpoint of BatchTopK."""
    tensors = plain()
    if kind == "jumprelu":
        tensors["jumprelu.log_threshold"] = draw(LATENTS, seed=5)
    save(folder / "sae.pt", tensors)
    config = {
        "sae_type": kind,
        "model_name": "gpt2-small",
        "act_size": D,
        "dict_size": LATENTS,
        "dtype": "torch.float32",
        "layer": 8,
        "site": "resid_pre",
        "hook_point": "blocks.8.hook_resid_pre",
        "top_k": "3",
        "input_unit_norm": "True",
    }
    write(folder, "config.json", config | changes)
    return folder


def hook_z(folder: Path) -> Path:
    """A checkpoint for attention heads."""
    tensors = plain()
    name = "gpt2-small_L5_Hcat_z_lr1.20e-03"
    save(folder / f"{name}.pt", tensors)
    config = {"act_name": "blocks.5.attn.hook_z", "act_size": D, "dict_size": LATENTS}
    write(folder, f"{name}_cfg.json", config)
    return folder


LAYOUTS: dict[str, list[Callable[[Path], Path]]] = {
    "sparsify": [coder_folder],
    "saelens": [saelens, lambda folder: saelens(folder, "topk")],
    "gemma_scope": [gemma_scope],
    "gemma_scope_2": [gemma_scope_2],
    "circuit_tracer": [circuit_tracer],
    "llama_scope": [llama_scope, llama_scope_r1],
    "dictionary_learning": [dictionary_learning],
    "qwen_scope": [qwen_scope],
    "openai": [openai],
    "linear_layers": [linear_layers],
    "batch_top_k": [batch_top_k],
    "hook_z": [hook_z],
}
"""Writes a checkpoint in each format; some have several layouts."""
