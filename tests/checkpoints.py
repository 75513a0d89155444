"""Folders that look like a model's or a coder's: settings, and small weights of the right names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WIDTH, LAYERS = 16, 3
CONFIG = {"model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": LAYERS}


def model_folder(folder: Path, **config: Any) -> Path:
    """A checkpoint with three layers called ``layers``. It cannot be loaded, only looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text("{}")
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(LAYERS)]
    save_file({name: np.zeros((1, WIDTH), np.float32) for name in names}, folder / "a.safetensors")
    return folder


def coder_folder(
    folder: Path, *, width: int = WIDTH, latents: int = 12, skip: bool = False, **config: Any
) -> Path:
    """A sparsify checkpoint.

    Args:
        skip: Whether its weights have a skip connection; its settings say ``skip_connection``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"num_latents": latents, "k": 3, "skip_connection": skip, "transcode": True}
    (folder / "cfg.json").write_text(json.dumps(settings | {"d_in": width} | config))
    weights = {
        "encoder.weight": np.zeros((latents, width), np.float32),
        "encoder.bias": np.zeros(latents, np.float32),
        "W_dec": np.zeros((latents, width), np.float32),
        "b_dec": np.zeros(width, np.float32),
    }
    if skip:
        weights["W_skip"] = np.zeros((width, width), np.float32)
    save_file(weights, folder / "sae.safetensors")
    return folder


def living_folders(folder: Path) -> dict[str, str]:
    """A tiny random model that works, a coder that reconstructs its MLP's output, and a corpus.

    Returns:
        What a study names: model, coder, hookpoint and corpus.
    """
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    from tests.engine import VOCABULARY, tiny_model, word_tokenizer

    tiny_model("llama").save_pretrained(folder / "model")
    word_tokenizer().save_pretrained(folder / "model")
    # One latent for each direction and its opposite: of each two, one is active.
    settings = SparseCoderConfig(num_latents=2 * WIDTH, k=WIDTH, transcode=False)
    coder = SparseCoder(WIDTH, settings)
    both = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    coder.encoder.weight.data, coder.W_dec.data = both, both.clone()
    coder.encoder.bias.data.zero_()
    coder.b_dec.data.zero_()
    coder.save_to_disk(folder / "coder")
    (folder / "texts").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        words = (f"w{i}" for i in rng.integers(0, VOCABULARY - 1, 20_000))
        (folder / "texts" / f"{number}.txt").write_text(" ".join(words))
    return {
        "model": str(folder / "model"),
        "coder": str(folder / "coder"),
        "hookpoint": "layers.1.mlp",
        "corpus": str(folder / "texts"),
    }


def stream_coder(folder: Path) -> str:
    """A sparse autoencoder of what layer 1 of the tiny model puts out. Its files do not say so."""
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    from interp.coders.inspection import capture_sites
    from interp.sources.sites import Side, Site
    from tests.engine import random_tokens, tiny_model

    site = Site("layers.1", Side.OUTPUT)
    tokens = random_tokens(24, 24)
    x = capture_sites(tiny_model("llama"), tokens, [site], first_position=1).sites[site]
    centre = x.mean(0)
    # Half of the directions: all would reconstruct whatever stands anywhere.
    basis = torch.linalg.svd(x - centre, full_matrices=False).Vh[: WIDTH // 2]
    both = torch.cat([basis, -basis])
    coder = SparseCoder(WIDTH, SparseCoderConfig(num_latents=WIDTH, k=WIDTH // 2, transcode=False))
    coder.encoder.weight.data, coder.W_dec.data = both, both.clone()
    coder.encoder.bias.data.zero_()
    coder.b_dec.data = centre
    coder.save_to_disk(folder)
    return str(folder)
