"""A tiny experiment with the parts of the published one, and the recipe that names them."""

import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.services.reproductions.recipes import SHIPPED

WORDS, DOCUMENTS = 6_000, 12
RECIPE = """
title = "A tiny experiment"
num_latents = 64
protocols = ["paper", "whole"]
beside = true

[text]
model = "{folder}/model"
corpus = "{folder}/texts"
context_length = 8
contexts_explain = 1_000
contexts_calibrate = 4
contexts_evaluate = 6
contexts_rewrite = 6

[[study]]
slug = "tiny-transcoder"
title = "Tiny transcoder"
coder = "{folder}/transcoder"
hookpoint = "layers.1.mlp"

[[study]]
slug = "tiny-sae"
title = "Tiny SAE"
coder = "{folder}/sae"
hookpoint = "layers.1"

[explainer]
method = "prompted"
llm = {{ backend = "openai", model = "explainer", base_url = "{url}" }}

[simulator]
method = "last_token"
model = "{folder}/reader"
calibrate_contexts = 4

[small]
latents = 4

"""


def tiny_recipe(folder: Path, url: str) -> Path:
    """A recipe with the statements of the shipped one, and the files that it names.

    They are a random model of Pythia's architecture, a skip transcoder on the MLP of a layer and an
    SAE behind the layer in sparsify's layout, a random language model to simulate with, and text.

    Args:
        url: The address of the server that explains.
    """
    from interp.coders.train import train_coder
    from interp.model.subject import load_subject
    from tests.engine import SHAPE, VOCABULARY, tiny_model, word_tokenizer
    from tests.tokenizer_kinds import like_gpt

    tiny_model("gpt_neox").save_pretrained(folder / "model")
    word_tokenizer().save_pretrained(folder / "model")
    torch.manual_seed(0)
    shape = SHAPE | {"vocab_size": len(like_gpt())}
    reader = LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=1))
    reader.save_pretrained(folder / "reader")
    like_gpt().save_pretrained(folder / "reader")
    (folder / "texts").mkdir()
    rng = np.random.default_rng(0)
    for number in range(DOCUMENTS):
        words = (f"w{i}" for i in rng.integers(0, VOCABULARY - 1, WORDS))
        (folder / "texts" / f"{number}.txt").write_text(" ".join(words))
    for kind, site in (("transcoder", "layers.1.mlp"), ("sae", "layers.1")):
        train_coder(
            load_subject(str(folder / "model"), site, device=torch.device("cpu")),
            str(folder / "texts"),
            folder / kind,
            kind=kind,
            num_latents=64,
            k=8,
            skip=kind == "transcoder",
            context_length=16,
            prepend_bos=True,
            batch_size=8,
            max_tokens=40_000,
            seed=0,
        )
    published = (SHIPPED / "paper.toml").read_text().split("# Statements as published.")[1]
    recipe = folder / "tiny.toml"
    text = RECIPE.format(folder=folder, url=url) + f"#{published}"
    recipe.write_text(
        text.replace("paper-transcoder", "tiny-transcoder").replace("paper-sae", "tiny-sae")
    )
    return recipe


def copy_recipe(recipe: Path, folder: Path, old: str, new: str) -> Path:
    """The same recipe with something else in it."""
    copy = Path(shutil.copy(recipe, folder / "changed.toml"))
    copy.write_text(copy.read_text().replace(old, new))
    return copy
